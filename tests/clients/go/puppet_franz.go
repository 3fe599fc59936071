package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func (f *franz) Can() string {
	return "range roundrobin cooperative-sticky static consumer clean none commit each async auto groups describe offsets alter" +
		" forget delete"
}

// franzMember reads and commits in a goroutine; a rebalance waits until what was read is committed.
type franzMember struct {
	*Member
	client *kgo.Client
	stop   context.CancelFunc
	ended  sync.WaitGroup
}

func (f *franz) Join(m *Member) (Joined, error) {
	it := &franzMember{Member: m}
	options := append(it.options(), kgo.SeedBrokers(f.broker))
	client, err := kgo.NewClient(options...)
	if err != nil {
		return nil, err
	}
	var ctx context.Context
	ctx, it.stop = context.WithCancel(context.Background())
	it.client = client
	it.ended.Go(func() { it.live(ctx) })
	return it, nil
}

func (m *franzMember) options() []kgo.Opt {
	session := time.Duration(number[int64](m.Settings["session"])) * time.Millisecond
	gone := func(ctx context.Context, client *kgo.Client, lost map[string][]int32) {
		if m.Settings["commit"] != "none" {
			// What the library does by itself for who does not ask to be told. Also a commit of before may have been
			// refused while the group was about to share out again.
			_ = client.CommitUncommittedOffsets(ctx)
		}
		m.Taken(lost[m.Settings["topic"]])
	}
	options := []kgo.Opt{
		kgo.ConsumerGroup(m.Settings["group"]), kgo.ConsumeTopics(m.Settings["topic"]), kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, found map[string][]int32) {
			m.Given(found[m.Settings["topic"]])
		}),
		kgo.OnPartitionsRevoked(gone),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, lost map[string][]int32) {
			m.Taken(lost[m.Settings["topic"]])
		}),
	}
	if m.Settings["reset"] == "latest" {
		options = append(options, kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()))
	}
	if m.Settings["commit"] == "auto" {
		options = append(options, kgo.AutoCommitInterval(200*time.Millisecond))
	} else {
		options = append(options, kgo.DisableAutoCommit())
	}
	if m.Settings["instance"] != "" {
		options = append(options, kgo.InstanceID(m.Settings["instance"]))
	}
	if m.Settings["protocol"] == "consumer" {
		return append(options, kgo.ServerSideBalancer(), kgo.Balancers(kgo.StickyBalancer()))
	}
	assignors := map[string]kgo.GroupBalancer{"range": kgo.RangeBalancer(), "roundrobin": kgo.RoundRobinBalancer(),
		"cooperative-sticky": kgo.CooperativeStickyBalancer()}
	return append(options, kgo.Balancers(assignors[m.Settings["assignor"]]), kgo.SessionTimeout(session),
		kgo.HeartbeatInterval(300*time.Millisecond))
}

func (m *franzMember) live(ctx context.Context) {
	for ctx.Err() == nil {
		short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		fetches := m.client.PollRecords(short, 100)
		cancel()
		offsets := map[int32]kgo.EpochOffset{}
		fetches.EachRecord(func(r *kgo.Record) {
			m.Read(r.Partition, r.Offset, r.Value)
			offsets[r.Partition] = kgo.EpochOffset{Epoch: r.LeaderEpoch, Offset: r.Offset + 1}
		})
		if len(offsets) > 0 {
			m.commit(ctx, map[string]map[int32]kgo.EpochOffset{m.Settings["topic"]: offsets})
		}
		m.client.AllowRebalance()
	}
}

func (m *franzMember) commit(ctx context.Context, offsets map[string]map[int32]kgo.EpochOffset) {
	done := func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, answer *kmsg.OffsetCommitResponse, err error) {
		if err != nil {
			// The broker is away, or has forgotten the member: who gets the partitions next reads again.
			return
		}
		for _, topic := range answer.Topics {
			for _, p := range topic.Partitions {
				if p.ErrorCode == 0 {
					m.Confirmed(p.Partition, offsets[m.Settings["topic"]][p.Partition].Offset)
				}
			}
		}
	}
	switch m.Settings["commit"] {
	case "each":
		m.client.CommitOffsetsSync(ctx, offsets, done)
	case "async":
		m.client.CommitOffsets(context.Background(), offsets, done)
	}
}

// Commit sends text along with the offset, which the library leaves to a hook.
func (m *franzMember) Commit(partition int32, offset int64, text string) error {
	var told error
	ctx := kgo.PreCommitFnContext(context.Background(), func(request *kmsg.OffsetCommitRequest) error {
		for i := range request.Topics {
			for j := range request.Topics[i].Partitions {
				request.Topics[i].Partitions[j].Metadata = &text
			}
		}
		return nil
	})
	offsets := map[string]map[int32]kgo.EpochOffset{m.Settings["topic"]: {partition: {Epoch: -1, Offset: offset}}}
	m.client.CommitOffsetsSync(ctx, offsets,
		func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, answer *kmsg.OffsetCommitResponse, err error) {
			if told = err; err == nil {
				told = kerr.ErrorForCode(answer.Topics[0].Partitions[0].ErrorCode)
			}
		})
	return told
}

func (m *franzMember) Committed(partition int32) (int64, string, error) {
	told, err := kadm.NewClient(m.client).FetchOffsets(context.Background(), m.Settings["group"])
	if err != nil {
		return 0, "", err
	}
	at, found := told.Lookup(m.Settings["topic"], partition)
	if !found {
		return -1, "", nil
	}
	return at.At, at.Metadata, at.Err
}

func (m *franzMember) Leave() error {
	m.stop()
	m.ended.Wait()
	var err error
	if m.Settings["protocol"] == "consumer" && m.Settings["instance"] != "" {
		err = m.goAway()
	}
	m.client.CloseAllowingRebalance()
	return err
}

// goAway lets a static member leave until it comes back. franz-go 1.22 says so without its instance id, which Apache
// Kafka and krappy refuse as INVALID_REQUEST, so it is said again as the protocol has it.
func (m *franzMember) goAway() error {
	request := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	request.Group, request.MemberEpoch = m.Settings["group"], -2
	request.MemberID, _ = m.client.GroupMetadata()
	instance := m.Settings["instance"]
	request.InstanceID = &instance
	m.client.LeaveGroup()
	answer, err := request.RequestWith(context.Background(), m.client)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(answer.ErrorCode)
}

func (f *franz) Administer(verb, group string, words []string) ([]string, error) {
	ctx := context.Background()
	switch verb {
	case "groups":
		told, err := f.admin.ListGroups(ctx)
		return told.Groups(), err
	case "describe":
		return f.describe(ctx, group)
	case "offsets":
		told, err := f.admin.FetchOffsets(ctx, group)
		var found []string
		told.Each(func(at kadm.OffsetResponse) {
			found = append(found, fmt.Sprintf("%d=%d:%s", at.Partition, at.At, at.Metadata))
		})
		return found, err
	case "alter":
		offsets := kadm.Offsets{}
		for partition, offset := range changes(words[1:]) {
			offsets.AddOffset(words[0], partition, offset, -1)
		}
		return nil, f.admin.CommitAllOffsets(ctx, group, offsets)
	case "forget":
		topics := kadm.TopicsSet{}
		topics.Add(words[0], number[int32](words[1]))
		told, err := f.admin.DeleteOffsets(ctx, group, topics)
		return nil, errors.Join(err, told.Error())
	default:
		_, err := f.admin.DeleteGroup(ctx, group)
		return nil, err
	}
}

// describe asks in the older way, and in the newer one if that leads to nothing.
func (f *franz) describe(ctx context.Context, group string) ([]string, error) {
	classic, err := f.admin.DescribeGroups(ctx, group)
	if told := classic[group]; err == nil && told.Err == nil && told.State != "Dead" {
		return []string{told.State, cmp.Or(told.Protocol, "-"), strconv.Itoa(len(told.Members))}, nil
	}
	newer, err := f.admin.DescribeConsumerGroups(ctx, group)
	if err != nil {
		return nil, err
	}
	told := slices.Collect(maps.Values(newer))[0]
	return []string{told.State, cmp.Or(told.AssignorName, "-"), strconv.Itoa(len(told.Members))}, told.Err
}
