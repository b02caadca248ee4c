package access

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// rules parses rules for a test.
func rules(t testing.TB, list ...string) []Rule {
	t.Helper()
	var out []Rule
	for _, s := range list {
		r, err := ParseRule(s)
		if err != nil {
			t.Fatalf("ParseRule(%q): %v", s, err)
		}
		out = append(out, r)
	}
	return out
}

func mustNew(t testing.TB, o Options) *Policy {
	t.Helper()
	p, err := New(o)
	if err != nil {
		t.Fatalf("New(%+v): %v", o, err)
	}
	return p
}

// levels holds what each preset says of the paths of a home, class by class.
var levels = []struct {
	name        string
	paths       string
	hermes, all Level
}{
	{"the home itself", ".", None, Write},
	{
		"skills", `skills skills/mlops skills/mlops/x/SKILL.md skills/a/references/r.md skills/a/scripts/run.sh
		skills/a/.github/w.yml skills/.bundled_manifest skills/.usage.json skills/.curator_state skills/.curator_ledger.jsonl
		skills/.curator_suppressed skills/a/.env skills/a/auth.json skills/a/schema.dbml skills/a/venv.md skills/a/.gitignore
		skills/a/home/x skills/a/config.yaml`, Write, Write,
	},
	{
		"skills, bookkeeping in bulk", `skills/.hub skills/.hub/lock.json skills/.hub/quarantine/x/SKILL.md skills/.archive/old/SKILL.md
		skills/.curator_backups/1.tar skills/_org/x/SKILL.md`, None, Write,
	},
	{
		"skills, what tools leave", `skills/.git skills/a/.git/HEAD skills/a/.git skills/a/b/node_modules/c/index.js skills/a/__pycache__/x.pyc
		skills/a/.venv/bin/python skills/venv/x skills/a/lib/site-packages/y.py skills/a/.tox/x skills/a/.nox/x skills/a/.pytest_cache/x
		skills/a/.mypy_cache/x skills/a/.ruff_cache/x`, None, Write,
	},
	{
		"caches", `cache/documents/a.pdf cache/images/a.png cache/audio/a.ogg cache/videos/a.mp4 cache/screenshots/a.png cache/web/a.html
		cache/delegation/t1/log cache/spillover/x.txt cache/documents images/a.png attachments/deep/er/x cache/web/node_modules/x
		cache/documents/repo/.git/HEAD`, Write, Write,
	},
	{"caches that stay", "cache cache/x cache/other/y cache/delegation/live cache/delegation/live/t.log cache/models_dev_cache.json", None, Write},
	{"older caches", "document_cache/x image_cache/x audio_cache/x video_cache/x browser_screenshots/x web_cache/x delegation_cache/x", None, Write},
	{
		"master credentials", `.env auth.json auth.lock auth auth/google_oauth.json .anthropic_oauth.json mcp-tokens mcp-tokens/x.json
		webhook_subscriptions.json slack_tokens.json honcho.json bws/x iron-proxy/x cache/bws_cache.json cache/bws_cache.enc.json`, None, Write,
	},
	{"who may talk", "pairing/x platforms/pairing/x.json feishu_comment_pairing.json whatsapp/session/creds.json", None, Write},
	{"other tokens", "google_token.json google_client_secret.json home/.ssh/id_ed25519 home/.xurl", None, Write},
	{"configuration and memory", "config.yaml SOUL.md memories memories/MEMORY.md memories/USER.md pending/skills/1.json", None, Write},
	{"run on the host", "plugins/x/__init__.py hooks/x scripts/x.sh cron/jobs.json skill-bundles/x skins/x mcp.json", None, Write},
	{
		"databases", `state.db state.db-wal state.db-shm state.db-journal kanban.db kanban/boards/b/kanban.db projects.db response_store.db
		memory_store.db verification_evidence.db cron/executions.db gateway/discord_message_recovery.db retaindb_queue.db
		telemetry/x/metrics.sqlite3 skills/a/data.db skills/a/data.db-wal skills/x.sqlite cache/web/y.sqlite3-journal`, None, None,
	},
	{"databases, copies", "skills/a/data.db.bak skills/a/data.db3", None, Write},
	{
		"history", `sessions/1.jsonl logs/agent.log cron/output/1/x.md checkpoints/x backups/x.zip state-snapshots/x session-exports/x`,
		None, Write,
	},
	{
		"runtime state", `gateway.pid gateway.sock gateway_state.json processes.json gateway.lock cron/.tick.lock cron/.jobs.lock .backup.lock
		.update_check active_profile channel_directory.json modal_snapshots.json`, None, Write,
	},
	{"code", "hermes-agent hermes-agent/venv/bin/python node/bin/node bin/x node_modules/x .worktrees/x tools/x sandboxes/docker/x", None, Write},
	{"sibling homes", "profiles profiles/work profiles/work/skills/a/SKILL.md profiles/work/.env", None, Write},
	{
		"hermesfs's own", `.sync.lock .sync.lock/x .hermesfs .hermesfs/marker skills/.hermesfs-tmp-1 skills/.hermesfs-d/x .hermesfs-1`,
		None, None,
	},
	{"only like them", "skills/.sync.lock skills/.hermesfs skills/x/.hermesfsx", Write, Write},
	{"look-alikes", "skillsx/a skill cache/documentsx/a imagesx xskills/a", None, Write},
	{"not UTF-8", "skills/\xff\xfe/\x80.md images/\xc3 skills/a/\xff", Write, Write},
	{"not clean", "/skills/a skills//a skills/../.env skills/./a skills/..", None, None},
	{"not below shown names", "skills\xff/a \xffskills", None, Write},
}

func TestPresets(t *testing.T) {
	hermes, all := mustNew(t, Options{}), mustNew(t, Options{Preset: "all"})
	for _, tc := range levels {
		t.Run(tc.name, func(t *testing.T) {
			for path := range strings.FieldsSeq(tc.paths) {
				if got := hermes.Level(path); got != tc.hermes {
					t.Errorf("hermes: Level(%q) = %v, want %v", path, got, tc.hermes)
				}
				if got := all.Level(path); got != tc.all {
					t.Errorf("all: Level(%q) = %v, want %v", path, got, tc.all)
				}
			}
		})
	}
}

func TestEnter(t *testing.T) {
	for _, tc := range []struct {
		name     string
		o        Options
		yes, not string
	}{
		{
			name: "hermes",
			yes:  ". skills skills/a skills/a/b skills/.bundled cache cache/documents cache/web/node_modules cache/delegation images attachments/x skills/\xff",
			not: `hermes-agent hermes-agent/venv cache/foo cache/delegation/live skills/.hub skills/.hub/x skills/_org skills/.archive
			skills/x/node_modules skills/x/node_modules/y skills/.git profiles profiles/work profiles/work/skills auth mcp-tokens home sessions
			memories node_modules .hermesfs skills/.hermesfs-x cache/bws_cache1 platforms whatsapp skills/x.db document_cache ..`,
		},
		{name: "all", o: Options{Preset: "all"}, yes: ". skills/.hub profiles/work/skills hermes-agent/venv auth", not: ".hermesfs x/.hermesfs-1 a.db"},
		{
			name: "rules", o: Options{Rules: rules(t, "auth/google_oauth.json=read", "a/b/*/c=write", "d/**=write", "d/e=none", "d/e/f/**=read", "d/g/**=none")},
			yes: "auth a a/b a/b/x d d/e d/e/f d/h", not: "auth/x b a/c a/b/x/c a/b/x/d d/e/x d/g d/g/h",
		},
		{name: "nothing", o: Options{Rules: rules(t, "**=none")}, not: ". skills cache skills/a"},
		{name: "a wildcard does not open what is excluded", o: Options{Rules: rules(t, "**=write")}, yes: ". memories skills", not: "skills/.hub skills/a/.git auth profiles home"},
		{name: "nor does another name", o: Options{Rules: rules(t, "skills/.hub/**=read")}, yes: "skills/.hub skills/.hub/x", not: "skills/.archive skills/.hub/.git"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := mustNew(t, tc.o)
			for dir := range strings.FieldsSeq(tc.yes) {
				if !p.Enter(dir) {
					t.Errorf("Enter(%q) = false, want true", dir)
				}
			}
			for dir := range strings.FieldsSeq(tc.not) {
				if p.Enter(dir) {
					t.Errorf("Enter(%q) = true, want false", dir)
				}
			}
		})
	}
}

func TestRules(t *testing.T) {
	for _, tc := range []struct {
		name   string
		preset string
		rules  string
		want   map[string]Level
	}{
		{"later wins", "", "skills/**=read skills/a/**=review skills/a/b/*=write", map[string]Level{
			"skills": Read, "skills/x": Read, "skills/a": Review, "skills/a/b": Review, "skills/a/b/c": Write, "skills/a/b/c/d": Review,
		}},
		{"earlier loses", "", "skills/a/**=none skills/**=read", map[string]Level{"skills/a/b": Read}},
		{"a secret needs its exact path", "", "**=write .e*=write {.env,auth.json}=write auth/**=write mcp-tokens=read", map[string]Level{
			".env": None, "auth.json": None, "auth/x": None, "memories/x": Write, "state.db": None, "skills/x.db": None,
			"mcp-tokens": Read, "mcp-tokens/x": None, "config.yaml": None, "profiles/a/skills/b": None,
		}},
		{"with it, it is seen", "", ".env=read auth/google_oauth.json=review state.db=read profiles/a/SOUL.md=write", map[string]Level{
			".env": Read, "auth/google_oauth.json": Review, "auth/x": None, "auth": None, "state.db": Read, "profiles/a/SOUL.md": Write,
		}},
		{"a later wildcard neither raises nor keeps it", "", ".env=read **=write auth.json=read *=none", map[string]Level{
			".env": None, "auth.json": None, "memories/x": None,
		}},
		{"a wildcard does not raise it", "", ".env=read **=write", map[string]Level{".env": Read, "SOUL.md": Write}},
		{"what is excluded must be spelt", "", "skills/**=review", map[string]Level{
			"skills/a": Review, "skills/.hub/x": None, "skills/a/node_modules/b": None,
		}},
		{"and then shows", "", "skills/.hub/**=read skills/**/node_modules/keep/**=write cache/delegation/live/*=read", map[string]Level{
			"skills/.hub/x": Read, "skills/.hub/.git/x": None, "skills/a/node_modules/keep/b": Write, "skills/a/node_modules/b": None,
			"cache/delegation/live/x": Read, "skills/.archive/x": None,
		}},
		{"an exact path covers a directory", "", "memories=write SOUL.md=read sessions/a=read", map[string]Level{
			"memories": Write, "memories/MEMORY.md": Write, "SOUL.md": Read, "sessions": None, "sessions/a/b": Read, "sessions/b": None,
		}},
		{"none covers what is below", "all", "tmp=none *.bak=none", map[string]Level{
			"tmp": None, "tmp/x": None, "a.bak": None, "a.bak/b": None, "b/a.bak": Write,
		}},
		{"braces, classes, escapes", "", `{a,b/{c,d}}/*.md=read \[x\]/y=write [e-f]?=review`, map[string]Level{
			"a/1.md": Read, "b/c/1.md": Read, "b/d/1.md": Read, "b/1.md": None, "[x]/y": Write, "x/y": None, "e1": Review, "g1": None, "e12": None,
		}},
		{"hermesfs's own stay hidden", "all", ".sync.lock=write .hermesfs/**=write **/.hermesfs-*=write", map[string]Level{
			".sync.lock": None, ".hermesfs/x": None, "a/.hermesfs-1": None,
		}},
		{"live databases by their exact path", "all", "**/*.db=write a/b.db=read", map[string]Level{"x.db": None, "a/b.db": Read, "a/b.db-wal": None}},
		{"a glob with =", "", "a=b/**=read", map[string]Level{"a=b/c": Read}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := mustNew(t, Options{Preset: tc.preset, Rules: rules(t, strings.Fields(tc.rules)...)})
			got := map[string]Level{}
			for path := range tc.want {
				got[path] = p.Level(path)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("levels (-want +got):\n%s", diff)
			}
		})
	}
}

func TestHidden(t *testing.T) {
	p := mustNew(t, Options{Preset: "all"})
	for path, want := range map[string]bool{
		".": false, "a": false, ".sync.lock": true, "a/.sync.lock": false, ".hermesfs": true, ".hermesfs/x": true, "a/.hermesfs": false,
		".hermesfs-1": true, "a/.hermesfs-1": true, "a/.hermesfs-1/b": true, "a.hermesfs-1": false,
	} {
		if got := p.Hidden(path); got != want {
			t.Errorf("Hidden(%q) = %v, want %v", path, got, want)
		}
	}
}

func TestBadRules(t *testing.T) {
	for _, s := range []string{
		"", "skills", "=read", "skills/**=", "skills/**=rw", "skills/**=READ", "skills/[a=read", "skills/{a=read", "/etc/**=read",
		"~/x=read", "skills/=read", "a//b=read", "./a=read", "a/../b=read", "a\x00b=read", `a\=read`, "[a/b]=read", "a]{=read",
		"{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}=read",
	} {
		r, err := ParseRule(s)
		switch {
		case err == nil:
			t.Errorf("ParseRule(%q) = %v, want an error", s, r)
		case !strings.Contains(err.Error(), "rule ") || strings.Contains(err.Error(), "\n"):
			t.Errorf("ParseRule(%q): %q does not name the rule in one line", s, err)
		}
	}
	if _, err := New(Options{Rules: []Rule{{"ok/**", Read}, {"b[", Read}}}); err == nil || !strings.Contains(err.Error(), `"b[=read"`) {
		t.Errorf("New with a bad glob: %v", err)
	}
	if _, err := New(Options{Rules: []Rule{{"a", Write + 1}}}); err == nil || !strings.Contains(err.Error(), "unknown level") {
		t.Errorf("New with a bad level: %v", err)
	}
	if _, err := New(Options{Preset: "hermès"}); err == nil || !strings.Contains(err.Error(), "hermès") {
		t.Errorf("New with a bad preset: %v", err)
	}
	many := make([]Rule, 3000)
	for i := range many {
		many[i] = Rule{"a", Read}
	}
	if _, err := New(Options{Rules: many}); err == nil || !strings.Contains(err.Error(), "too many") {
		t.Errorf("New with %d rules: %v", len(many), err)
	}
}

func TestLevelText(t *testing.T) {
	b, err := json.Marshal([]Level{None, Read, Review, Write})
	if err != nil || string(b) != `["none","read","review","write"]` {
		t.Fatalf("Marshal = %s, %v", b, err)
	}
	var back []Level
	if err := json.Unmarshal(b, &back); err != nil || !cmp.Equal(back, []Level{None, Read, Review, Write}) {
		t.Errorf("Unmarshal(%s) = %v, %v", b, back, err)
	}
	if err := json.Unmarshal([]byte(`["x"]`), &back); err == nil {
		t.Error("Unmarshal of an unknown level: no error")
	}
}

func TestScope(t *testing.T) {
	for _, tc := range []struct {
		name                string
		o                   Options
		roots, paths, names string
	}{
		{
			name: "hermes",
			roots: `attachments cache/audio cache/delegation cache/documents cache/images cache/screenshots cache/spillover cache/videos
			cache/web images skills`,
			paths: "cache/delegation/live skills/.archive skills/.curator_backups skills/.hub skills/_org",
		},
		{name: "all", o: Options{Preset: "all"}, roots: ".", paths: ".hermesfs .sync.lock"},
		{
			name: "everything but secrets", o: Options{Rules: rules(t, "**=read", "tmp=none", "auth/x=read")}, roots: ".",
			paths: `.anthropic_oauth.json .env .hermesfs .sync.lock auth.json auth.lock bws cache/delegation/live config.yaml
			feishu_comment_pairing.json home honcho.json iron-proxy mcp-tokens pairing platforms/pairing profiles skills/.archive skills/.curator_backups
			skills/.hub skills/_org slack_tokens.json tmp webhook_subscriptions.json whatsapp/session`,
		},
		{
			name:  "only skills, by name",
			o:     Options{Rules: rules(t, "cache/**=none", "images/**=none", "attachments/**=none", "skills/**/.venv/keep/**=read")},
			roots: "skills", paths: "skills/.archive skills/.curator_backups skills/.hub skills/_org",
			names: ".git .mypy_cache .nox .pytest_cache .ruff_cache .tox __pycache__ node_modules site-packages venv",
		},
		{
			name:  "a credential file beside skills",
			o:     Options{CredentialFiles: []string{"t.json"}, Rules: rules(t, "{cache,images,attachments}/**=none")},
			roots: "skills t.json", paths: "skills/.archive skills/.curator_backups skills/.hub skills/_org",
			names: ".git .mypy_cache .nox .pytest_cache .ruff_cache .tox .venv __pycache__ node_modules site-packages venv",
		},
		{name: "nothing", o: Options{Rules: rules(t, "**=none")}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			roots, paths, names := mustNew(t, tc.o).Scope()
			for _, c := range []struct {
				what, want string
				got        []string
			}{{"roots", tc.roots, roots}, {"prunePaths", tc.paths, paths}, {"pruneNames", tc.names, names}} {
				if diff := cmp.Diff(strings.Join(strings.Fields(c.want), " "), strings.Join(c.got, " ")); diff != "" {
					t.Errorf("%s (-want +got):\n%s", c.what, diff)
				}
			}
		})
	}
	names := mustNew(t, Options{}).PruneNames("skills")
	if want := strings.Fields(".git .mypy_cache .nox .pytest_cache .ruff_cache .tox .venv __pycache__ node_modules site-packages venv"); !cmp.Equal(names, want) {
		t.Errorf("PruneNames(skills) = %v, want %v", names, want)
	}
}

func TestCredentialFiles(t *testing.T) {
	for _, tc := range []struct {
		name, yaml string
		want       []string
		bad        []string // what the error has to name
	}{
		{"none", "terminal:\n  backend: ssh\n", nil, nil},
		{"empty file", "", nil, nil},
		{"null", "terminal:\n  credential_files:\n", nil, nil},
		{"empty list", "terminal: {credential_files: []}", nil, nil},
		{"some", "terminal:\n  credential_files: [google_token.json, ./sub//x.json]\n", []string{"google_token.json", "sub/x.json"}, nil},
		{"by an alias", "l: &l [a.json]\nterminal: {credential_files: *l}\n", []string{"a.json"}, nil},
		{
			"refused", `
terminal:
  credential_files: [/etc/shadow, ../x, a/../../x, "~/y", auth.json, auth/google_oauth.json, mcp-tokens, ./.env, state.db, profiles/a/t.json, x/, ".", .sync.lock, good.json, {a: b}]
`,
			[]string{"good.json"},
			[]string{
				"/etc/shadow", `"../x"`, "a/../../x", "~/y", `"auth.json"`, "google_oauth.json", "mcp-tokens", "./.env", "state.db", "profiles/a/t.json",
				`"x/"`, `"."`, ".sync.lock", "line 3: not a string",
			},
		},
		{"not a list", "terminal: {credential_files: a}", nil, []string{"not a list"}},
		{"not YAML", "terminal: [", nil, []string{"config.yaml"}},
		{"other shape", "terminal: 3", nil, []string{"config.yaml"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := CredentialFiles([]byte(tc.yaml))
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("CredentialFiles (-want +got):\n%s", diff)
			}
			if (err != nil) != (len(tc.bad) > 0) {
				t.Fatalf("error = %v, want one about %q", err, tc.bad)
			}
			for _, bad := range tc.bad {
				if !strings.Contains(err.Error(), bad) {
					t.Errorf("error does not name %q:\n%v", bad, err)
				}
			}
		})
	}
}

func TestCredentialFilesAreReadOnlyAndExact(t *testing.T) {
	for _, preset := range []string{"hermes", "all"} {
		p := mustNew(t, Options{Preset: preset, CredentialFiles: []string{"google_token.json", "a*b.json", "tokens"}})
		for _, path := range []string{"google_token.json", "a*b.json"} {
			if got := p.Level(path); got != Read {
				t.Errorf("%s: Level(%q) = %v, want read", preset, path, got)
			}
		}
		if preset == "hermes" {
			for _, path := range []string{"aXb.json", "tokens/x", "google_token.json/x"} {
				if got := p.Level(path); got != None {
					t.Errorf("Level(%q) = %v, want none", path, got)
				}
			}
		}
	}
	for _, bad := range []string{"auth.json", "/x", "../x"} {
		if _, err := New(Options{CredentialFiles: []string{bad}}); err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("New with credential file %q: %v", bad, err)
		}
	}
}
