package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// franz is franz-go, whose producer is idempotent and compresses by snappy unless it is told otherwise.
type franz struct {
	broker string
	admin  *kadm.Client
}

func newFranz(broker string) Client {
	// The library keeps what it knows of topics for five seconds by default, which is long for who waits for a change.
	fresh := kgo.MetadataMinAge(50 * time.Millisecond)
	return &franz{broker, kadm.NewClient(got(kgo.NewClient(kgo.SeedBrokers(broker), fresh)))}
}

func (f *franz) Send(topic string, records []Record, how How) ([]Record, error) {
	options := []kgo.Opt{kgo.SeedBrokers(f.broker), kgo.AllowAutoTopicCreation()}
	if len(records) > 0 && records[0].Partition != anywhere {
		options = append(options, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	}
	switch how.Acks {
	case "0":
		options = append(options, kgo.RequiredAcks(kgo.NoAck()), kgo.DisableIdempotentWrite())
	case "1":
		options = append(options, kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite())
	}
	if how.Codec != "" {
		codecs := map[string]kgo.CompressionCodec{"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(),
			"snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()}
		options = append(options, kgo.ProducerBatchCompression(codecs[how.Codec]))
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	var first error
	done := 0
	sent := make([]*kgo.Record, len(records))
	for i, r := range records {
		sent[i] = &kgo.Record{Topic: topic, Key: r.Key, Value: r.Value, Partition: r.Partition, Timestamp: r.Time}
		for _, h := range r.Headers {
			sent[i].Headers = append(sent[i].Headers, kgo.RecordHeader{Key: h.Name, Value: h.Value})
		}
		// The library calls these one after the other.
		client.Produce(context.Background(), sent[i], func(_ *kgo.Record, err error) {
			if err != nil && first == nil {
				first = err
			}
			done++
			if how.Acknowledged != nil {
				how.Acknowledged(done)
			}
		})
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := client.Flush(ctx); err != nil {
		return nil, err
	}
	placed := make([]Record, len(sent))
	for i, r := range sent {
		placed[i] = fromFranz(r)
	}
	return placed, first
}

func (f *franz) Read(topic string, partition int32, start int64, count int) ([]Record, error) {
	from := map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().At(start)}}
	client, err := kgo.NewClient(kgo.SeedBrokers(f.broker), kgo.ConsumePartitions(from),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var read []Record
	for len(read) < count {
		fetches := client.PollRecords(ctx, count-len(read))
		if err := fetches.Err(); err != nil {
			return nil, fmt.Errorf("%d of %d records came: %w", len(read), count, err)
		}
		fetches.EachRecord(func(r *kgo.Record) { read = append(read, fromFranz(r)) })
	}
	return read, nil
}

func fromFranz(r *kgo.Record) Record {
	record := Record{Key: r.Key, Value: r.Value, Partition: r.Partition, Offset: r.Offset, Time: r.Timestamp}
	for _, h := range r.Headers {
		record.Headers = append(record.Headers, Header{h.Key, h.Value})
	}
	return record
}

func (f *franz) Offset(topic string, partition int32, at int64) (int64, error) {
	var listed kadm.ListedOffsets
	var err error
	switch at {
	case latest:
		listed, err = f.admin.ListEndOffsets(context.Background(), topic)
	case earliest:
		listed, err = f.admin.ListStartOffsets(context.Background(), topic)
	default:
		listed, err = f.admin.ListOffsetsAfterMilli(context.Background(), at, topic)
	}
	if err != nil {
		return 0, err
	}
	offset, _ := listed.Lookup(topic, partition)
	return offset.Offset, offset.Err
}

func (f *franz) CreateTopic(topic string, partitions int32, replication int16, configs map[string]string) error {
	set := map[string]*string{}
	for name, value := range configs {
		set[name] = &value
	}
	_, err := f.admin.CreateTopic(context.Background(), partitions, replication, set, topic)
	return err
}

func (f *franz) DeleteTopic(topic string) error {
	_, err := f.admin.DeleteTopic(context.Background(), topic)
	return err
}

func (f *franz) Topics() ([]string, error) {
	topics, err := f.admin.ListTopics(context.Background())
	var names []string
	for name, topic := range topics {
		// What it was asked for and could not find is listed, too.
		if topic.Err == nil {
			names = append(names, name)
		}
	}
	return names, err
}

func (f *franz) Partitions(topic string) ([]int32, error) {
	topics, err := f.admin.ListTopics(context.Background(), topic)
	if err != nil {
		return nil, err
	}
	return topics[topic].Partitions.Numbers(), topics[topic].Err
}

func (f *franz) Configs(topic string) (map[string]string, error) {
	resources, err := f.admin.DescribeTopicConfigs(context.Background(), topic)
	if err != nil {
		return nil, err
	}
	told := map[string]string{}
	for _, config := range resources[0].Configs {
		told[config.Key] = config.MaybeValue()
	}
	return told, resources[0].Err
}

func (f *franz) Alter(topic, name, value string) error {
	change := []kadm.AlterConfig{{Op: kadm.SetConfig, Name: name, Value: &value}}
	told, err := f.admin.AlterTopicConfigs(context.Background(), change, topic)
	if err != nil {
		return err
	}
	return told[0].Err
}

func (f *franz) AddPartitions(topic string, total int) error {
	told, err := f.admin.UpdatePartitions(context.Background(), total, topic)
	if err != nil {
		return err
	}
	return told[topic].Err
}

func (f *franz) DeleteRecords(topic string, partition int32, before int64) error {
	offsets := kadm.Offsets{}
	offsets.AddOffset(topic, partition, before, -1)
	told, err := f.admin.DeleteRecords(context.Background(), offsets)
	if err != nil {
		return err
	}
	return told[topic][partition].Err
}

func (f *franz) Code(err error) int16 {
	var inner *kerr.Error
	if errors.As(err, &inner) {
		return inner.Code
	}
	return 0
}
