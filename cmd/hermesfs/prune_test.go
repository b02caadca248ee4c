package main

import (
	"testing"
	"time"
)

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "1000": 1000, "7B": 7, "10k": 10_000, "10K": 10_000, "500M": 500_000_000, "2GB": 2_000_000_000,
		"2GiB": 2 << 30, "3Ti": 3 << 40, "": -1, "M": -1, "-1": -1, "1.5G": -1, "9223372036854775807": 1<<63 - 1,
		"9223372036854775808": -1, "9300000T": -1, "1iB": -1,
	} {
		got, err := parseSize(text)
		if err != nil {
			got = -1
		}
		if got != want {
			t.Errorf("parseSize(%q) = %d, %v, want %d", text, got, err, want)
		}
	}
}

func TestParseAge(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0s": 0, "12h": 12 * time.Hour, "30d": 30 * 24 * time.Hour, "2w": 14 * 24 * time.Hour,
		"": -1, "d": -1, "-1h": -1, "-1d": -1, "3": -1, "200000000d": -1,
	} {
		got, err := parseAge(text)
		if err != nil {
			got = -1
		}
		if got != want {
			t.Errorf("parseAge(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
}
