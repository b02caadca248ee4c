package syncer

import (
	"testing"
	"time"

	"hermesfs/journal"
)

func TestVerifyBases(t *testing.T) {
	r := newRig(t, tree{"a": "1", "b": "2", "d/c": "3"})
	r.start()
	later := map[string]journal.Base{} // as if they had been hashed out of the racy window
	must(t, r.journal.Bases(func(path string, b journal.Base) error {
		b.HashedAt += int64(time.Hour)
		later[path] = b
		return nil
	}))
	must(t, r.journal.Apply(journal.Update{Put: later}))
	var got []Problem
	n, err := r.VerifyBases(ctx, func(p Problem) { got = append(got, p) })
	must(t, err)
	if n.Bases != 4 || n.Checked != 3 || len(got) > 0 {
		t.Errorf("checked %+v with problems %v, want 3 of 4 without any", n, got)
	}
	// An edit is no problem; a base that says something else of an unchanged file is.
	tree{"a": "edited"}.write(t, r.home)
	b, _, err := r.journal.Base("b")
	must(t, err)
	b.SHA256 = sha("something else")
	must(t, r.journal.Apply(journal.Update{Put: map[string]journal.Base{"b": b}}))
	if _, err = r.VerifyBases(ctx, func(p Problem) { got = append(got, p) }); err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[0].Path != "b" {
		t.Errorf("problems %v, want one at b", got)
	}
}

func TestVerifySandbox(t *testing.T) {
	r := newRig(t, tree{"a": "1", "b": "2", "d/c": "3"})
	r.start()
	var got []Problem
	n, err := r.VerifySandbox(ctx, func(p Problem) { got = append(got, p) })
	must(t, err)
	if n.Bases != 4 || n.Checked != 3 || len(got) > 0 {
		t.Errorf("checked %+v with problems %v, want 3 of 4 without any", n, got)
	}
	// An edit of the sandbox is no problem; a base that says something else of an unchanged file is.
	tree{"a": "edited"}.write(t, r.far)
	b, _, err := r.journal.Base("b")
	must(t, err)
	b.SHA256 = sha("something else")
	must(t, r.journal.Apply(journal.Update{Put: map[string]journal.Base{"b": b}}))
	n, err = r.VerifySandbox(ctx, func(p Problem) { got = append(got, p) })
	must(t, err)
	if len(got) != 1 || got[0].Path != "b" || n.Checked != 2 {
		t.Errorf("checked %+v with problems %v, want one at b", n, got)
	}
}
