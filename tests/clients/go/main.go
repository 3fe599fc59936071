package main

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

var libraries = map[string]func(broker string) Client{"franz-go": newFranz, "sarama": newSarama}

func main() {
	if os.Args[1] == "puppet" {
		obey(libraries[os.Args[2]](os.Getenv("BROKER")).(Puppet))
		return
	}
	library, wanted := os.Args[1], os.Args[2:]
	client := libraries[library](os.Getenv("BROKER"))
	if os.Getenv("BROKER_PID") != "" {
		scenarios = append(scenarios, scenario{"crash", crash})
	}
	failed := 0
	for _, s := range scenarios {
		if len(wanted) > 0 && !slices.Contains(wanted, s.name) {
			continue
		}
		begun := time.Now()
		if why := attempt(s, client, fmt.Sprintf("%s-%s-%d", library, s.name, os.Getpid())); why != "" {
			failed++
			fmt.Println("FAIL", s.name, strings.ReplaceAll(why, "\n", " "))
			continue
		}
		fmt.Printf("ok %s %.1f\n", s.name, time.Since(begun).Seconds())
	}
	fmt.Println("done")
	if failed > 0 {
		os.Exit(1)
	}
}

// attempt runs a scenario and says why it failed, if it did.
func attempt(s scenario, client Client, topic string) string {
	result := make(chan string, 1)
	go func() {
		defer func() {
			if why := recover(); why != nil {
				result <- fmt.Sprintf("%s: %v", step(), why)
				return
			}
			result <- ""
		}()
		s.run(client, topic)
	}()
	select {
	case why := <-result:
		return why
	case <-time.After(patience):
		return patience.String()
	}
}

// step is the line of the scenario that a panic came from: the first that is not one of the checks.
func step() string {
	callers := make([]uintptr, 50)
	frames := runtime.CallersFrames(callers[:runtime.Callers(0, callers)])
	helpers := []string{"main.check", "main.must", "main.got", "main.same", "main.refused", "main.soon", "main.step",
		"main.hasPartitions", "main.attempt"}
	for {
		frame, more := frames.Next()
		name, _, _ := strings.Cut(frame.Function, "[")
		helper := slices.ContainsFunc(helpers, func(h string) bool { return name == h || strings.HasPrefix(name, h+".") })
		if strings.HasPrefix(name, "main.") && !helper {
			return fmt.Sprintf("%s:%d", frame.File[strings.LastIndexByte(frame.File, '/')+1:], frame.Line)
		}
		if !more {
			return "?"
		}
	}
}
