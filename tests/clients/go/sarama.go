package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/IBM/sarama"
)

// saramaClient is sarama; it speaks the protocol of Kafka 2.8 unless it is told otherwise.
type saramaClient struct {
	brokers []string
}

func newSarama(broker string) Client {
	return saramaClient{[]string{broker}}
}

func (s saramaClient) Send(topic string, records []Record, how How) ([]Record, error) {
	config := sarama.NewConfig()
	config.Producer.Return.Successes = true
	if len(records) > 0 && records[0].Partition != anywhere {
		config.Producer.Partitioner = sarama.NewManualPartitioner
	}
	if how.Codec != "" {
		if err := config.Producer.Compression.UnmarshalText([]byte(how.Codec)); err != nil {
			return nil, err
		}
	}
	if how.Acks != "" {
		levels := map[string]sarama.RequiredAcks{"0": sarama.NoResponse, "1": sarama.WaitForLocal, "all": sarama.WaitForAll}
		config.Producer.RequiredAcks = levels[how.Acks]
	}
	if how.Idempotent {
		config.Producer.Idempotent = true
		// What the library demands for it.
		config.Net.MaxOpenRequests = 1
		// By default it gives up after a second.
		config.Producer.Retry.Max = 300
		config.Metadata.Retry.Max = 300
	}
	producer, err := sarama.NewAsyncProducer(s.brokers, config)
	if err != nil {
		return nil, err
	}
	go func() {
		for i, r := range records {
			producer.Input() <- toSarama(topic, i, r)
		}
	}()
	placed := make([]Record, len(records))
	var first error
	for done := 1; done <= len(records); done++ {
		select {
		case m := <-producer.Successes():
			i := m.Metadata.(int)
			placed[i] = records[i]
			placed[i].Partition, placed[i].Offset = m.Partition, m.Offset
		case failed := <-producer.Errors():
			first = failed.Err
		}
		if how.Acknowledged != nil {
			how.Acknowledged(done)
		}
	}
	return placed, errors.Join(first, producer.Close())
}

func toSarama(topic string, index int, r Record) *sarama.ProducerMessage {
	message := &sarama.ProducerMessage{Topic: topic, Partition: r.Partition, Timestamp: r.Time, Metadata: index}
	// A nil slice in an Encoder would be empty, and not null.
	if r.Key != nil {
		message.Key = sarama.ByteEncoder(r.Key)
	}
	if r.Value != nil {
		message.Value = sarama.ByteEncoder(r.Value)
	}
	for _, h := range r.Headers {
		message.Headers = append(message.Headers, sarama.RecordHeader{Key: []byte(h.Name), Value: h.Value})
	}
	return message
}

func (s saramaClient) Read(topic string, partition int32, start int64, count int) ([]Record, error) {
	config := sarama.NewConfig()
	config.Consumer.Return.Errors = true
	consumer, err := sarama.NewConsumer(s.brokers, config)
	if err != nil {
		return nil, err
	}
	defer consumer.Close()
	reader, err := consumer.ConsumePartition(topic, partition, start)
	if err != nil {
		return nil, err
	}
	defer reader.AsyncClose()
	late := time.After(30 * time.Second)
	var read []Record
	for len(read) < count {
		select {
		case m := <-reader.Messages():
			record := Record{Key: m.Key, Value: m.Value, Partition: m.Partition, Offset: m.Offset, Time: m.Timestamp}
			for _, h := range m.Headers {
				record.Headers = append(record.Headers, Header{string(h.Key), h.Value})
			}
			read = append(read, record)
		case err := <-reader.Errors():
			return nil, err
		case <-late:
			return nil, fmt.Errorf("%d of %d records came", len(read), count)
		}
	}
	return read, nil
}

func (s saramaClient) Offset(topic string, partition int32, at int64) (int64, error) {
	client, err := sarama.NewClient(s.brokers, sarama.NewConfig())
	if err != nil {
		return 0, err
	}
	defer client.Close()
	return client.GetOffset(topic, partition, at)
}

func (s saramaClient) CreateTopic(topic string, partitions int32, replication int16, configs map[string]string) error {
	detail := sarama.TopicDetail{NumPartitions: partitions, ReplicationFactor: replication,
		ConfigEntries: map[string]*string{}}
	for name, value := range configs {
		detail.ConfigEntries[name] = &value
	}
	return s.administer(func(admin sarama.ClusterAdmin) error { return admin.CreateTopic(topic, &detail, false) })
}

func (s saramaClient) DeleteTopic(topic string) error {
	return s.administer(func(admin sarama.ClusterAdmin) error { return admin.DeleteTopic(topic) })
}

func (s saramaClient) Topics() (names []string, err error) {
	err = s.administer(func(admin sarama.ClusterAdmin) error {
		topics, err := admin.ListTopics()
		for name := range topics {
			names = append(names, name)
		}
		return err
	})
	return names, err
}

func (s saramaClient) Partitions(topic string) (numbers []int32, err error) {
	err = s.administer(func(admin sarama.ClusterAdmin) error {
		topics, err := admin.DescribeTopics([]string{topic})
		if err != nil {
			return err
		}
		for _, partition := range topics[0].Partitions {
			numbers = append(numbers, partition.ID)
		}
		if topics[0].Err != sarama.ErrNoError {
			return topics[0].Err
		}
		return nil
	})
	return numbers, err
}

func (s saramaClient) Configs(topic string) (map[string]string, error) {
	told := map[string]string{}
	return told, s.administer(func(admin sarama.ClusterAdmin) error {
		entries, err := admin.DescribeConfig(sarama.ConfigResource{Type: sarama.TopicResource, Name: topic})
		for _, entry := range entries {
			told[entry.Name] = entry.Value
		}
		return err
	})
}

func (s saramaClient) Alter(topic, name, value string) error {
	change := sarama.IncrementalAlterConfigsEntry{Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &value}
	changes := map[string]sarama.IncrementalAlterConfigsEntry{name: change}
	return s.administer(func(admin sarama.ClusterAdmin) error {
		return admin.IncrementalAlterConfig(sarama.TopicResource, topic, changes, false)
	})
}

func (s saramaClient) AddPartitions(topic string, total int) error {
	return s.administer(func(admin sarama.ClusterAdmin) error {
		return admin.CreatePartitions(topic, int32(total), nil, false)
	})
}

func (s saramaClient) DeleteRecords(topic string, partition int32, before int64) error {
	return s.administer(func(admin sarama.ClusterAdmin) error {
		return admin.DeleteRecords(topic, map[int32]int64{partition: before})
	})
}

func (s saramaClient) administer(step func(sarama.ClusterAdmin) error) error {
	admin, err := sarama.NewClusterAdmin(s.brokers, sarama.NewConfig())
	if err != nil {
		return err
	}
	return errors.Join(step(admin), admin.Close())
}

func (s saramaClient) Code(err error) int16 {
	var inner sarama.KError
	if errors.As(err, &inner) {
		return int16(inner)
	}
	return 0
}
