package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

func (s saramaClient) Can() string {
	return "range roundrobin cooperative-sticky static clean none commit each auto groups describe offsets alter forget delete"
}

// saramaMember is also the handler that the library calls: each partition has a goroutine.
type saramaMember struct {
	*Member
	admin func(func(sarama.ClusterAdmin) error) error
	group sarama.ConsumerGroup
	stop  context.CancelFunc
	ended sync.WaitGroup
	// The session that is under way, for commits from elsewhere.
	sessions chan sarama.ConsumerGroupSession
}

func (s saramaClient) Join(m *Member) (Joined, error) {
	config := sarama.NewConfig()
	config.Consumer.Group.Session.Timeout = time.Duration(number[int64](m.Settings["session"])) * time.Millisecond
	config.Consumer.Group.Heartbeat.Interval = 300 * time.Millisecond
	// By default the library lets two seconds pass before it joins again.
	config.Consumer.Group.Rebalance.Retry.Backoff = 100 * time.Millisecond
	config.Consumer.Group.InstanceId = m.Settings["instance"]
	config.Consumer.Offsets.AutoCommit.Enable = m.Settings["commit"] == "auto"
	config.Consumer.Offsets.AutoCommit.Interval = 200 * time.Millisecond
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	if m.Settings["reset"] == "latest" {
		config.Consumer.Offsets.Initial = sarama.OffsetNewest
	}
	// The broker is away for a moment when it was killed.
	config.Metadata.Retry.Max = 100
	assignors := map[string]sarama.BalanceStrategy{"range": sarama.NewBalanceStrategyRange(),
		"roundrobin": sarama.NewBalanceStrategyRoundRobin(), "cooperative-sticky": sarama.NewBalanceStrategyCooperativeSticky()}
	config.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{assignors[m.Settings["assignor"]]}
	group, err := sarama.NewConsumerGroup(s.brokers, m.Settings["group"], config)
	if err != nil {
		return nil, err
	}
	it := &saramaMember{Member: m, admin: s.administer, group: group,
		sessions: make(chan sarama.ConsumerGroupSession, 1)}
	var ctx context.Context
	ctx, it.stop = context.WithCancel(context.Background())
	it.ended.Go(func() {
		for ctx.Err() == nil {
			if err := group.Consume(ctx, []string{m.Settings["topic"]}, it); err != nil && ctx.Err() == nil {
				// Such as a broker that was killed: a program goes on, as the library's examples do.
				time.Sleep(100 * time.Millisecond)
			}
		}
	})
	return it, nil
}

func (m *saramaMember) Setup(session sarama.ConsumerGroupSession) error {
	select {
	case <-m.sessions:
	default:
	}
	m.sessions <- session
	return nil
}

func (m *saramaMember) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (m *saramaMember) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	m.Given([]int32{claim.Partition()})
	defer m.Taken([]int32{claim.Partition()})
	for message := range claim.Messages() {
		m.Read(message.Partition, message.Offset, message.Value)
		switch m.Settings["commit"] {
		case "each":
			session.MarkMessage(message, "")
			// A commit is a request, and the library gives up a partition that is behind with its messages.
			if len(claim.Messages()) == 0 {
				session.Commit()
			}
		case "auto":
			session.MarkMessage(message, "")
		}
	}
	return nil
}

func (m *saramaMember) Commit(partition int32, offset int64, text string) error {
	session := <-m.sessions
	session.MarkOffset(m.Settings["topic"], partition, offset, text)
	session.Commit()
	m.sessions <- session
	return nil
}

func (m *saramaMember) Committed(partition int32) (offset int64, text string, err error) {
	topic := m.Settings["topic"]
	err = m.admin(func(admin sarama.ClusterAdmin) error {
		told, err := admin.ListConsumerGroupOffsets(m.Settings["group"], map[string][]int32{topic: {partition}})
		if err == nil {
			offset, text = told.Blocks[topic][partition].Offset, told.Blocks[topic][partition].Metadata
		}
		return err
	})
	return offset, text, err
}

func (m *saramaMember) Leave() error {
	m.stop()
	m.ended.Wait()
	return m.group.Close()
}

func (s saramaClient) Administer(verb, group string, words []string) (told []string, err error) {
	err = s.administer(func(admin sarama.ClusterAdmin) error {
		told, err = saramaAnswer(admin, verb, group, words)
		return err
	})
	return told, err
}

func saramaAnswer(admin sarama.ClusterAdmin, verb, group string, words []string) (told []string, err error) {
	switch verb {
	case "groups":
		groups, err := admin.ListConsumerGroups()
		for name := range groups {
			told = append(told, name)
		}
		return told, err
	case "describe":
		groups, err := admin.DescribeConsumerGroups([]string{group})
		if err != nil {
			return nil, err
		}
		return []string{groups[0].State, cmp.Or(groups[0].Protocol, "-"), strconv.Itoa(len(groups[0].Members))}, nil
	case "offsets":
		offsets, err := admin.ListConsumerGroupOffsets(group, nil)
		if err != nil {
			return nil, err
		}
		for partition, at := range offsets.Blocks[words[0]] {
			told = append(told, fmt.Sprintf("%d=%d:%s", partition, at.Offset, at.Metadata))
		}
		return told, nil
	case "alter":
		wish := map[int32]sarama.OffsetAndMetadata{}
		for partition, offset := range changes(words[1:]) {
			wish[partition] = sarama.OffsetAndMetadata{Offset: offset, LeaderEpoch: -1}
		}
		answer, err := admin.AlterConsumerGroupOffsets(group, map[string]map[int32]sarama.OffsetAndMetadata{words[0]: wish}, nil)
		if err != nil {
			return nil, err
		}
		for _, code := range answer.Errors[words[0]] {
			if !errors.Is(code, sarama.ErrNoError) {
				return nil, code
			}
		}
		return nil, nil
	case "forget":
		return nil, admin.DeleteConsumerGroupOffset(group, words[0], number[int32](words[1]))
	default:
		return nil, admin.DeleteConsumerGroup(group)
	}
}
