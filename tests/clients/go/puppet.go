package main

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// A puppet is told what to do, and says what happens: ../groups/stage.py describes the lines, in both directions. This
// file reads and writes them; the files beside it do what they say, in the words of one library each.

// Settings are those of a member, by name.
type Settings map[string]string

// Puppet is one library.
type Puppet interface {
	// Can says what the library is able to do.
	Can() string
	// Join starts a member. It tells what happens to it by itself.
	Join(m *Member) (Joined, error)
	Administer(verb, group string, words []string) ([]string, error)
	Code(err error) int16
}

// Joined is a member of a group, while it is one.
type Joined interface {
	Commit(partition int32, offset int64, text string) error
	Committed(partition int32) (int64, string, error)
	// Leave returns when the broker knows.
	Leave() error
}

// Member tells what happens to it.
type Member struct {
	name string
	Settings
	mutex      sync.Mutex
	partitions map[int32]bool
}

// Given tells of partitions that the member has got.
func (m *Member) Given(partitions []int32) { m.change("+", partitions, true) }

// Taken tells of partitions that it has no more.
func (m *Member) Taken(partitions []int32) { m.change("-", partitions, false) }

func (m *Member) change(what string, partitions []int32, held bool) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	words := []string{m.name, what}
	for _, partition := range slices.Sorted(slices.Values(partitions)) {
		if m.partitions[partition] != held {
			m.partitions[partition] = held
			words = append(words, strconv.Itoa(int(partition)))
		}
	}
	if len(words) > 2 {
		tell(words...)
	}
}

// Read tells of a record.
func (m *Member) Read(partition int32, offset int64, value []byte) {
	tell(m.name, "=", fmt.Sprint(partition), fmt.Sprint(offset), string(value))
}

// Confirmed tells of a commit.
func (m *Member) Confirmed(partition int32, offset int64) {
	tell(m.name, "^", fmt.Sprint(partition), fmt.Sprint(offset))
}

// Failed tells of what nobody asked for.
func (m *Member) Failed(err error) {
	tell(m.name, "failed", strings.ReplaceAll(err.Error(), "\n", " "))
}

// telling keeps lines whole.
var telling sync.Mutex

func tell(words ...string) {
	telling.Lock()
	defer telling.Unlock()
	fmt.Println(strings.Join(words, " "))
}

// obey runs until the end of the input.
func obey(p Puppet) {
	tell("ready", p.Can())
	members, joined := map[string]*Member{}, map[string]Joined{}
	input := bufio.NewScanner(os.Stdin)
	for input.Scan() {
		words := strings.Split(input.Text(), " ")
		command, name, rest := words[0], words[1], words[2:]
		m := members[name]
		switch command {
		case "join":
			m = &Member{name: name, Settings: Settings{}, partitions: map[int32]bool{}}
			for _, word := range rest {
				key, value, _ := strings.Cut(word, "=")
				m.Settings[key] = value
			}
			it, err := p.Join(m)
			if err != nil {
				m.Failed(err)
			}
			members[name], joined[name] = m, it
		case "leave":
			go func(it Joined) {
				if err := it.Leave(); err != nil {
					m.Failed(err)
				}
				tell(name, "left")
			}(joined[name])
		case "commit":
			text := ""
			if len(rest) > 2 {
				text = rest[2]
			}
			answer(p, name, nil, joined[name].Commit(number[int32](rest[0]), number[int64](rest[1]), text))
		case "committed":
			offset, text, err := joined[name].Committed(number[int32](rest[0]))
			answer(p, name, []string{fmt.Sprint(offset), text}, err)
		case "admin":
			told, err := p.Administer(name, rest[0], rest[1:])
			answer(p, "admin", told, err)
		}
	}
}

func answer(p Puppet, name string, words []string, err error) {
	if err == nil {
		tell(append([]string{name, "did"}, words...)...)
		return
	}
	code := strings.ReplaceAll(err.Error(), " ", "_")
	if known := p.Code(err); known != 0 {
		code = fmt.Sprint(known)
	}
	tell(name, "refused", code)
}

// changes reads words like 3=17: partitions and offsets.
func changes(words []string) map[int32]int64 {
	offsets := map[int32]int64{}
	for _, word := range words {
		partition, offset, _ := strings.Cut(word, "=")
		offsets[number[int32](partition)] = number[int64](offset)
	}
	return offsets
}

func number[T int32 | int64](word string) T {
	return T(got(strconv.ParseInt(word, 10, 64)))
}
