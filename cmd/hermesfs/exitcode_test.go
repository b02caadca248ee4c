package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"

	syncer "hermesfs/sync"
)

func TestCodeOf(t *testing.T) {
	for _, tc := range []struct {
		name string
		err  error
		want int
	}{
		{"none", nil, 0},
		{"any", errors.New("x"), 1},
		{"usage", usagef("x"), 2},
		{"wrapped", fmt.Errorf("a: %w", failf(exitAsk, "x")), 4},
		{"incomplete", fmt.Errorf("a: %w", &syncer.IncompleteError{Attempts: 3, Err: errors.New("x")}), 3},
		{"stop", fmt.Errorf("a: %w", &syncer.StopError{Op: "pull", Flag: "--allow-deletes", Err: syncer.ErrMassDelete}), 4},
		{"sigint", &signalError{syscall.SIGINT}, 130},
		{"sigterm", &signalError{syscall.SIGTERM}, 143},
		{"command of run", &exitError{code: 77}, 77},
	} {
		if got := codeOf(tc.err); got != tc.want {
			t.Errorf("codeOf(%s) = %d, want %d", tc.name, got, tc.want)
		}
	}
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	boom := errors.New("boom")
	if got := interrupted(ctx, boom); got != boom {
		t.Errorf("interrupted without a signal = %v, want %v", got, boom)
	}
	cancel(&signalError{syscall.SIGTERM})
	for _, tc := range []struct {
		name string
		err  error
		want int
	}{
		{"done all the same", nil, 143},
		{"cancelled", context.Canceled, 143},
		{"cause", context.Cause(ctx), 143},
		{"other fault", boom, 143},
		{"incomplete says more", failf(exitIncomplete, "x"), 3},
		{"question says more", failf(exitAsk, "x"), 4},
	} {
		if got := codeOf(interrupted(ctx, tc.err)); got != tc.want {
			t.Errorf("code after SIGTERM, %s = %d, want %d", tc.name, got, tc.want)
		}
	}
}
