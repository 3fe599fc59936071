// Command clients puts Kafka clients that are written in Go through what each client is put through: see
// tests/clients/run.sh. This file says what they do and what must come of it, once for all; the files beside it say the
// same few things in the words of one library each.
//
//	clients LIBRARY [SCENARIO...]
//	clients puppet LIBRARY
//
// The broker is at BROKER. If BROKER_PID names a file, it holds the pid of a broker that somebody restarts when it dies.
package main

import (
	"bytes"
	"cmp"
	"fmt"
	"math/rand"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The longest that a scenario may take.
const patience = 120 * time.Second

// Kafka's numbers of the errors that are provoked here.
const (
	offsetOutOfRange         = 1
	unknownTopic             = 3
	messageTooLarge          = 10
	invalidTopic             = 17
	topicAlreadyExists       = 36
	invalidPartitions        = 37
	invalidReplicationFactor = 38
	invalidConfig            = 40
)

// Places in a log that have no number.
const (
	latest   = -1
	earliest = -2
)

// anywhere lets the library choose the partition.
const anywhere = -1

// Record is what is sent, and what is read. Without a time it gets the library's.
type Record struct {
	Key, Value []byte
	Headers    []Header
	Partition  int32
	Offset     int64
	Time       time.Time
}

// Header is one of a record's; a name may stand more than once.
type Header struct {
	Name  string
	Value []byte
}

// How says what is not left to the library's defaults.
type How struct {
	Codec, Acks string
	// Idempotent asks for at least that; a library may do it anyway.
	Idempotent bool
	// Acknowledged is told how many records have been, after each of them.
	Acknowledged func(done int)
}

// Client is one library.
type Client interface {
	// Send returns the records with the places that the broker has given them.
	Send(topic string, records []Record, how How) ([]Record, error)
	Read(topic string, partition int32, start int64, count int) ([]Record, error)
	// Offset is that of the first record at or after a time in milliseconds (-1 if there is none), or an end.
	Offset(topic string, partition int32, at int64) (int64, error)
	CreateTopic(topic string, partitions int32, replication int16, configs map[string]string) error
	DeleteTopic(topic string) error
	Topics() ([]string, error)
	Partitions(topic string) ([]int32, error)
	Configs(topic string) (map[string]string, error)
	Alter(topic, name, value string) error
	AddPartitions(topic string, total int) error
	DeleteRecords(topic string, partition int32, before int64) error
	// Code is Kafka's number of an error, 0 if it is not one of Kafka's.
	Code(err error) int16
}

type scenario struct {
	name string
	run  func(c Client, topic string)
}

var scenarios = []scenario{
	{"defaults", defaults},
	{"acks", acks},
	{"codec_gzip", codec("gzip")},
	{"codec_snappy", codec("snappy")},
	{"codec_lz4", codec("lz4")},
	{"codec_zstd", codec("zstd")},
	{"shapes", shapes},
	{"seek_by_offset", seekByOffset},
	{"seek_by_time", seekByTime},
	{"waits", waits},
	{"large", large},
	{"too_large", tooLarge},
	{"auto_create", autoCreate},
	{"unknown_topic", unknown},
	{"topic_admin", topicAdmin},
	{"bad_admin", badAdmin},
	{"configs", configs},
	{"create_partitions", createPartitions},
	{"delete_records", deleteRecords},
	{"list_offsets", listOffsets},
}

// A thousand records with nothing set but the address, and back, in order in each partition.
func defaults(c Client, topic string) {
	must(c.CreateTopic(topic, 3, 1, nil))
	sent := numbered(1000, anywhere)
	for i := range sent {
		sent[i].Key = fmt.Appendf(nil, "key-%d", i%50)
	}
	placed := got(c.Send(topic, sent, How{}))
	for partition := range int32(3) {
		here := slices.DeleteFunc(slices.Clone(placed), func(r Record) bool { return r.Partition != partition })
		slices.SortFunc(here, func(a, b Record) int { return cmp.Compare(a.Offset, b.Offset) })
		check(len(here) > 0, "no key of fifty fell into partition %d", partition)
		read := got(c.Read(topic, partition, 0, len(here)))
		same(read, here)
		for i, r := range read {
			check(r.Offset == int64(i) && here[i].Offset == int64(i), "offset %d is not %d", r.Offset, i)
		}
	}
	for partition := range int32(3) {
		last := map[string]int{}
		for _, r := range got(c.Read(topic, partition, 0, int(got(c.Offset(topic, partition, latest))))) {
			number := got(strconv.Atoi(string(r.Value)))
			before, there := last[string(r.Key)]
			check(!there || before < number, "key %s: %d came after %d", r.Key, number, before)
			last[string(r.Key)] = number
		}
	}
}

// Records reach the log whatever the producer waits for.
func acks(c Client, topic string) {
	must(c.CreateTopic(topic, 1, 1, nil))
	for _, level := range []string{"0", "1", "all"} {
		got(c.Send(topic, []Record{{Value: []byte(level), Partition: anywhere}}, How{Acks: level}))
	}
	read := got(c.Read(topic, 0, 0, 3))
	for i, level := range []string{"0", "1", "all"} {
		check(string(read[i].Value) == level, "%s instead of acks=%s", read[i].Value, level)
	}
}

// A compressed batch comes back, and it was compressed: in the clear it would be too large for the topic.
func codec(name string) func(Client, string) {
	return func(c Client, topic string) {
		must(c.CreateTopic(topic, 1, 1, map[string]string{"max.message.bytes": "20000"}))
		text := []byte(strings.Repeat("the same words again and again; ", 3000))
		sent := []Record{{Key: []byte("large"), Value: text}, {Value: []byte{}}, {Key: []byte("key")}}
		got(c.Send(topic, sent, How{Codec: name}))
		same(got(c.Read(topic, 0, 0, 3)), sent)
		_, err := c.Send(topic, sent, How{Codec: "none"})
		refused(c, messageTooLarge, err)
	}
}

// Null is not empty: in keys and values. Headers keep their order and repetition.
func shapes(c Client, topic string) {
	must(c.CreateTopic(topic, 1, 1, nil))
	headers := []Header{{"twice", []byte("1")}, {"other", []byte{255, 0}}, {"twice", []byte("2")}, {"empty", []byte{}}}
	var sent []Record
	for _, key := range [][]byte{nil, {}, []byte("key"), {255, 254}} {
		for _, value := range [][]byte{nil, {}, []byte("value"), []byte("\u2603")} {
			sent = append(sent, Record{Key: key, Value: value}, Record{Key: key, Value: value, Headers: headers})
		}
	}
	got(c.Send(topic, sent, How{}))
	same(got(c.Read(topic, 0, 0, len(sent))), sent)
}

// Reading begins where it is told to, also in the middle of a batch.
func seekByOffset(c Client, topic string) {
	must(c.CreateTopic(topic, 1, 1, nil))
	sent := numbered(100, 0)
	got(c.Send(topic, sent, How{}))
	for _, start := range []int64{0, 1, 57, 99} {
		same(got(c.Read(topic, 0, start, 1)), sent[start:start+1])
	}
	_, err := c.Read(topic, 0, 1_000_000, 1)
	refused(c, offsetOutOfRange, err)
}

// A time leads to the first record that is not older.
func seekByTime(c Client, topic string) {
	must(c.CreateTopic(topic, 1, 1, nil))
	hourAgo := time.Now().Add(-time.Hour).Truncate(time.Millisecond)
	sent := numbered(10, 0)
	for i := range sent {
		sent[i].Time = hourAgo.Add(time.Duration(i) * time.Second)
	}
	got(c.Send(topic, sent, How{}))
	for _, at := range [][2]int64{{-5000, 0}, {0, 0}, {1, 1}, {4000, 4}, {4001, 5}, {9000, 9}} {
		offset := got(c.Offset(topic, 0, hourAgo.UnixMilli()+at[0]))
		check(offset == at[1], "at %d ms: offset %d instead of %d", at[0], offset, at[1])
	}
	after := got(c.Offset(topic, 0, hourAgo.UnixMilli()+9001))
	check(after == -1 || after == 10, "after the last record: %d", after)
	read := got(c.Read(topic, 0, 4, 1))
	check(read[0].Time.Equal(sent[4].Time), "timestamp %v instead of %v", read[0].Time, sent[4].Time)
}

// A consumer at the end of the log gets what is sent later.
func waits(c Client, topic string) {
	must(c.CreateTopic(topic, 1, 1, nil))
	sent := numbered(2, 0)
	type result struct {
		records []Record
		err     error
	}
	waiting := make(chan result, 1)
	go func() {
		records, err := c.Read(topic, 0, 0, 2)
		waiting <- result{records, err}
	}()
	got(c.Send(topic, sent[:1], How{}))
	got(c.Send(topic, sent[1:], How{}))
	read := <-waiting
	same(got(read.records, read.err), sent)
}

// Records of 900 KB with the client's and the broker's default limits.
func large(c Client, topic string) {
	must(c.CreateTopic(topic, 1, 1, nil))
	var sent []Record
	for i := range int64(3) {
		sent = append(sent, Record{Value: noise(900_000, i)})
	}
	got(c.Send(topic, sent, How{}))
	same(got(c.Read(topic, 0, 0, 3)), sent)
}

// The broker refuses what is over max.message.bytes, and takes what comes after it.
func tooLarge(c Client, topic string) {
	must(c.CreateTopic(topic, 1, 1, map[string]string{"max.message.bytes": "10000"}))
	_, err := c.Send(topic, []Record{{Value: noise(10_001, 1)}}, How{})
	refused(c, messageTooLarge, err)
	sent := numbered(1, 0)
	got(c.Send(topic, sent, How{}))
	same(got(c.Read(topic, 0, 0, 1)), sent)
}

// Sending to a topic that does not exist makes it.
func autoCreate(c Client, topic string) {
	sent := numbered(1, anywhere)
	got(c.Send(topic, sent, How{}))
	same(got(c.Read(topic, 0, 0, 1)), sent)
	check(slices.Contains(got(c.Topics()), topic), "the topic is not listed")
}

// Asking for a topic does not make it.
func unknown(c Client, topic string) {
	_, err := c.Partitions(topic)
	refused(c, unknownTopic, err)
	check(!slices.Contains(got(c.Topics()), topic), "the topic is listed")
}

// A topic is made once, seen then, gone when it is deleted, and can be made again, different.
func topicAdmin(c Client, topic string) {
	must(c.CreateTopic(topic, 4, 1, nil))
	hasPartitions(c, topic, 4)
	refused(c, topicAlreadyExists, c.CreateTopic(topic, 1, 1, nil))
	must(c.DeleteTopic(topic))
	soon("the topic is still listed", func() bool { return !slices.Contains(got(c.Topics()), topic) })
	refused(c, unknownTopic, c.DeleteTopic(topic))
	must(c.CreateTopic(topic, 2, 1, nil))
	hasPartitions(c, topic, 2)
}

// Topics that cannot be are refused with Kafka's error for each reason, and are not made.
func badAdmin(c Client, topic string) {
	refused(c, invalidTopic, c.CreateTopic("no spaces/allowed", 1, 1, nil))
	refused(c, invalidReplicationFactor, c.CreateTopic(topic, 1, 3, nil))
	refused(c, invalidPartitions, c.CreateTopic(topic, 0, 1, nil))
	refused(c, invalidConfig, c.CreateTopic(topic, 1, 1, map[string]string{"retention.ms": "soon"}))
	refused(c, invalidConfig, c.CreateTopic(topic, 1, 1, map[string]string{"no.such.setting": "1"}))
	check(!slices.Contains(got(c.Topics()), topic), "the topic was made")
}

// Settings are told as they were given, and change one by one.
func configs(c Client, topic string) {
	must(c.CreateTopic(topic, 1, 1, map[string]string{"retention.ms": "123456"}))
	told := func(name, value string) func() bool {
		return func() bool { return got(c.Configs(topic))[name] == value }
	}
	soon("retention.ms as it was given", told("retention.ms", "123456"))
	soon("cleanup.policy by default", told("cleanup.policy", "delete"))
	must(c.Alter(topic, "max.message.bytes", "5000"))
	soon("max.message.bytes as it was changed", told("max.message.bytes", "5000"))
	soon("retention.ms as it was left", told("retention.ms", "123456"))
	_, err := c.Send(topic, []Record{{Value: noise(6000, 1)}}, How{})
	refused(c, messageTooLarge, err)
	refused(c, invalidConfig, c.Alter(topic, "retention.ms", "soon"))
}

// Partitions are added, never taken away, and can be used.
func createPartitions(c Client, topic string) {
	must(c.CreateTopic(topic, 1, 1, nil))
	must(c.AddPartitions(topic, 3))
	hasPartitions(c, topic, 3)
	refused(c, invalidPartitions, c.AddPartitions(topic, 2))
	sent := numbered(1, 2)
	got(c.Send(topic, sent, How{}))
	same(got(c.Read(topic, 2, 0, 1)), sent)
}

// Records before an offset are gone, also if it lies within a batch.
func deleteRecords(c Client, topic string) {
	must(c.CreateTopic(topic, 1, 1, nil))
	sent := numbered(10, 0)
	got(c.Send(topic, sent, How{}))
	must(c.DeleteRecords(topic, 0, 4))
	check(got(c.Offset(topic, 0, earliest)) == 4, "the log does not begin at 4")
	same(got(c.Read(topic, 0, 4, 6)), sent[4:])
	_, err := c.Read(topic, 0, 3, 1)
	refused(c, offsetOutOfRange, err)
	must(c.DeleteRecords(topic, 0, -1))
	check(got(c.Offset(topic, 0, earliest)) == 10, "-1 does not mean all")
}

// The ends of a log, empty and not.
func listOffsets(c Client, topic string) {
	must(c.CreateTopic(topic, 1, 1, nil))
	ends := func() [2]int64 { return [2]int64{got(c.Offset(topic, 0, earliest)), got(c.Offset(topic, 0, latest))} }
	check(ends() == [2]int64{0, 0}, "empty: %v", ends())
	got(c.Send(topic, numbered(7, 0), How{}))
	check(ends() == [2]int64{0, 7}, "seven records: %v", ends())
}

// The broker is killed twice while an idempotent producer sends: no loss, no duplicate, and order is kept.
func crash(c Client, topic string) {
	const each, partitions = 10_000, 3
	must(c.CreateTopic(topic, partitions, 1, nil))
	var sent []Record
	for i := range each {
		for partition := range int32(partitions) {
			sent = append(sent, Record{Value: fmt.Appendf(nil, "%-200d", i), Partition: partition})
		}
	}
	due := []int{len(sent) / 4, len(sent) / 2}
	got(c.Send(topic, sent, How{Acks: "all", Idempotent: true, Acknowledged: func(done int) {
		if len(due) > 0 && done >= due[0] {
			due = due[1:]
			killBroker()
		}
	}}))
	check(len(due) == 0, "the broker was not killed twice")
	for partition := range int32(partitions) {
		for i, r := range got(c.Read(topic, partition, 0, each)) {
			number := got(strconv.Atoi(strings.TrimSpace(string(r.Value))))
			check(number == i, "partition %d: %d instead of %d", partition, number, i)
		}
		end := got(c.Offset(topic, partition, latest))
		check(end == each, "partition %d: ends at %d", partition, end)
	}
}

var killed int

// SIGKILL. Whoever started the broker starts it again, on the same port and data. If that has yet to happen it waits for
// it, because a library may tell late what was acknowledged before the kill.
func killBroker() {
	pid := killed
	soon("the broker is not started again", func() bool {
		pid = got(strconv.Atoi(strings.TrimSpace(string(got(os.ReadFile(os.Getenv("BROKER_PID")))))))
		return pid != killed
	})
	must(syscall.Kill(pid, syscall.SIGKILL))
	killed = pid
}

func numbered(count int, partition int32) []Record {
	records := make([]Record, count)
	for i := range records {
		records[i] = Record{Value: []byte(strconv.Itoa(i)), Partition: partition}
	}
	return records
}

func noise(size int, seed int64) []byte {
	value := make([]byte, size)
	rand.New(rand.NewSource(seed)).Read(value)
	return value
}

func hasPartitions(c Client, topic string, count int) {
	soon(fmt.Sprintf("%s has not %d partitions", topic, count), func() bool {
		partitions, err := c.Partitions(topic)
		return err == nil && len(partitions) == count
	})
}

// soon waits until it is so: Apache Kafka changes its metadata a little after it has confirmed a change.
func soon(otherwise string, question func() bool) {
	deadline := time.Now().Add(20 * time.Second)
	for !question() {
		check(time.Now().Before(deadline), "%s", otherwise)
	}
}

// same compares keys, values and headers; null is not empty.
func same(read, sent []Record) {
	check(len(read) == len(sent), "%d records instead of %d", len(read), len(sent))
	equal := func(a, b []byte) bool { return bytes.Equal(a, b) && (a == nil) == (b == nil) }
	for i, r := range read {
		s := sent[i]
		check(equal(r.Key, s.Key), "record %d: key %q instead of %q", i, r.Key, s.Key)
		check(equal(r.Value, s.Value), "record %d: value %.50q instead of %.50q", i, r.Value, s.Value)
		check(slices.EqualFunc(r.Headers, s.Headers, func(a, b Header) bool {
			return a.Name == b.Name && equal(a.Value, b.Value)
		}), "record %d: headers %v instead of %v", i, r.Headers, s.Headers)
	}
}

func refused(c Client, code int16, err error) {
	check(err != nil, "was not refused with error %d", code)
	check(c.Code(err) == code, "error %d instead of %d: %v", c.Code(err), code, err)
}

func got[T any](value T, err error) T {
	must(err)
	return value
}

func must(err error) {
	check(err == nil, "%v", err)
}

func check(holds bool, otherwise string, arguments ...any) {
	if !holds {
		panic(fmt.Errorf(otherwise, arguments...))
	}
}
