package journal

import (
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestBaseRoundTrip(t *testing.T) {
	big := Stat{Dev: math.MaxUint64, Ino: math.MaxUint64, Size: math.MaxInt64, Mtime: math.MinInt64, Ctime: math.MaxInt64}
	for _, tc := range []struct {
		name string
		base Base
	}{
		{"file", sampleBase("a/b", 12)},
		{"bare", Base{Kind: Dir}},
		{"symlink", Base{Kind: Symlink, Target: "../x\xff\n"}},
		{"extremes", Base{
			Kind: File, Size: math.MinInt64, Mode: math.MaxUint32, Mtime: math.MaxInt64, Generation: math.MaxUint64,
			PushedAt: math.MinInt64, HashedAt: math.MaxInt64, Ours: big, Theirs: big,
		}},
		{"mtime before 1970, cut to the second", Base{Kind: File, Mtime: -1, Theirs: Stat{Ino: 1, Mtime: -second}}},
		{"theirs alone", Base{Kind: File, Size: 4, Theirs: Stat{Size: 4, Ctime: 9}}},
	} {
		got, err := decodeBase(encodeBase(tc.base))
		if err != nil || got != tc.base {
			t.Errorf("%s: decode(encode) = %+v, %v, want %+v", tc.name, got, err, tc.base)
		}
	}
}

func TestEventsRoundTrip(t *testing.T) {
	events := []Event{
		{},
		{At: noon, Path: "skills/a/one.md", What: "pushed"},
		{At: noon, Path: "skills/a/two.md", What: "pushed", Detail: "pushed"},
		{At: noon.Add(-time.Hour), Path: "skills", What: "", Detail: "\xff\n"},
		{At: time.Unix(-3, 0).UTC(), Path: "skills/a/two.md/x", What: "conflict", Detail: strings.Repeat("x", 70_000)},
	}
	got, err := decodeEvents(encodeEvents(events))
	if err != nil || !reflect.DeepEqual(got, events) {
		t.Errorf("decode(encode) = %v, %v, want %v", got, err, events)
	}
}

func TestUnsealRefusesWhatStandsElsewhere(t *testing.T) {
	sealed := seal(bucketBase, []byte("a/b"), []byte("body"))
	for _, tc := range []struct {
		name, bucket, key string
		value             []byte
		want              error
	}{
		{"as written", bucketBase, "a/b", sealed, nil},
		{"other bucket", bucketPending, "a/b", sealed, errChecksum},
		{"other key", bucketBase, "a/c", sealed, errChecksum},
		{"boundary moved", bucketBase, "a/bb", append([]byte("ody"), sealed[4:]...), errChecksum},
		{"cut", bucketBase, "a/b", sealed[:3], errShort},
		{"nothing", bucketBase, "a/b", nil, errShort},
	} {
		if _, err := unseal(tc.bucket, []byte(tc.key), tc.value); !errors.Is(err, tc.want) {
			t.Errorf("%s: unseal = %v, want %v", tc.name, err, tc.want)
		}
	}
}

func TestDecodersRefuse(t *testing.T) {
	base := encodeBase(sampleBase("a", 1))
	for _, tc := range []struct {
		name string
		body []byte
		want error
	}{
		{"nothing", nil, errShort},
		{"cut", base[:len(base)-1], errShort},
		{"longer", append(append([]byte{}, base...), 0), errTrailing},
		{"version 2", append([]byte{2<<4 | 1}, base[1:]...), errVersion},
		{"kind 9", append([]byte{1<<4 | 9}, base[1:]...), errKind},
	} {
		if _, err := decodeBase(tc.body); !errors.Is(err, tc.want) {
			t.Errorf("%s: decodeBase = %v, want %v", tc.name, err, tc.want)
		}
	}
	// A string that claims more than there is must not be allocated.
	if _, err := decodeMeta([]byte{recordVersion, 0xff, 0xff, 0xff, 0xff, 0x7f}); !errors.Is(err, errShort) {
		t.Errorf("decodeMeta = %v, want errShort", err)
	}
}

// fuzzDecoder holds a decoder to: no panic, and what decodes comes back from its own encoding.
func fuzzDecoder[T any](f *testing.F, decode func([]byte) (T, error), encode func(T) []byte, seeds ...T) {
	for _, seed := range seeds {
		f.Add(encode(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		v, err := decode(body)
		if err != nil {
			return
		}
		again, err := decode(encode(v))
		if err != nil || !reflect.DeepEqual(again, v) {
			t.Errorf("decode(encode(%+v)) = %+v, %v", v, again, err)
		}
	})
}

func FuzzDecodeBase(f *testing.F) {
	fuzzDecoder(f, decodeBase, encodeBase, sampleBase("a", 3), Base{Kind: Symlink, Target: "x"})
}

func FuzzDecodeStat(f *testing.F) {
	fuzzDecoder(f, decodeStat, encodeStat, Stat{1, 2, 3, 4, 5})
}

func FuzzDecodeMeta(f *testing.F) {
	fuzzDecoder(f, decodeMeta, encodeMeta, Meta{Mount: "one", CreatedAt: noon, Generation: 9})
}

func FuzzDecodeCommit(f *testing.F) {
	fuzzDecoder(f, decodeCommit, encodeCommit, Commit{Kind: "commit", StartedAt: noon, Open: true, Steps: 3})
}

func FuzzDecodeStep(f *testing.F) {
	fuzzDecoder(f, decodeStep, encodeStep, Step{Path: "a", Op: "put", Object: [32]byte{1}, Before: Before{Kind: File, Object: [32]byte{2}}})
}

func FuzzDecodeEvents(f *testing.F) {
	fuzzDecoder(f, decodeEvents, encodeEvents, []Event{{At: noon, Path: "a/b", What: "pushed"}, {Path: "a/c", What: "pushed"}})
}
