package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
)

// task is one part of the gateway that runs until its context ends.
type task struct {
	name string
	run  func(ctx context.Context) error
}

// tasks are running tasks that end together.
type tasks struct {
	cancel context.CancelFunc
	done   chan struct{} // closed when all have ended

	mu      sync.Mutex
	running []string // below mu
}

// startTasks starts one goroutine for each task. One that ends before it is told
// to, with an error or without, calls fail. Wait for them by stop.
func startTasks(ctx context.Context, fail context.CancelCauseFunc, list ...task) *tasks {
	ctx, cancel := context.WithCancel(ctx)
	t := &tasks{cancel: cancel, done: make(chan struct{})}
	var all sync.WaitGroup
	for _, each := range list {
		t.running = append(t.running, each.name)
	}
	for _, each := range list {
		all.Go(func() {
			err := each.run(ctx)
			t.ended(each.name)
			switch {
			case ctx.Err() != nil:
			case err == nil:
				fail(fmt.Errorf("%s ended by itself", each.name))
			default:
				fail(fmt.Errorf("%s: %w", each.name, err))
			}
		})
	}
	go func() { // ends after the last task, which stop waits for
		all.Wait()
		close(t.done)
	}()
	return t
}

func (t *tasks) ended(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, each := range t.running {
		if each == name {
			t.running = append(t.running[:i], t.running[i+1:]...)
			return
		}
	}
}

// stop ends all tasks and waits for them until ctx ends.
func (t *tasks) stop(ctx context.Context) error {
	t.cancel()
	select {
	case <-t.done:
		return nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return errors.New("did not stop in time: " + strings.Join(t.running, ", "))
}
