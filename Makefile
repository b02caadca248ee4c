# make         build bin/hermesfs, a static binary
# make demo    install what is lacking, build, and show the whole loop on a generated home
# make test    install what is lacking and run every test for real
# make check   what runs in seconds: format, vet, staticcheck, unit tests

PREFIX   ?= /usr/local
DESTDIR  ?=
FUZZTIME ?= 10s
BENCH    ?= .
GO       ?= go

# A version goes into the binary where git can tell; it cannot in somebody else's checkout.
VCS  := $(shell git rev-parse HEAD >/dev/null 2>&1 && echo auto || echo false)
# The race detector needs a C compiler. make test installs one.
RACE := $(shell command -v gcc >/dev/null && echo -race)
# What runs in seconds, without FUSE, sshd or root.
QUICK := ./fs/access ./fs/layer ./backends ./cmd/hermesfs ./scripts/...

build: bin/hermesfs bin/hermes-fixture

bin/%: FORCE
	CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=$(VCS) -ldflags=-s -o $@ ./$(or $(MAIN_$*),cmd/$*)

MAIN_hermes-fixture := integration/fixture/cmd/hermes-fixture

install: bin/hermesfs
	install -D -m 0755 bin/hermesfs $(DESTDIR)$(PREFIX)/bin/hermesfs

check:
	@unformatted=$$($(GO) tool gofumpt -l .) && test -z "$$unformatted" || { echo "not gofumpt's format:" $$unformatted >&2; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	$(GO) test ./integration/lint
	$(GO) test $(RACE) -short $(QUICK)
	$(GO) test $(RACE) -short -run 'Reconcile|Policy|Encode|Record|Meta|Pending' ./sync ./journal

# What the tests use, and what the demo uses, is named in the script.
deps:
	scripts/deps test

deps-demo:
	scripts/deps demo

test: deps build
	scripts/test

demo: deps-demo build
	PATH="$(CURDIR)/bin:$$PATH" integration/demo/demo.sh

fuzz:
	GO="$(GO)" FUZZTIME="$(FUZZTIME)" scripts/fuzz

bench:
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem -timeout 60m ./...

# The overlay beside a plain directory, the kernel's overlayfs and fuse-overlayfs; as root.
bench-fs: build
	scripts/deps bench-fs
	PATH="$(CURDIR)/bin:$$PATH" $(GO) run ./integration/benchfs $(BENCHFLAGS)

bench-sync:
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem -timeout 60m ./sync/... ./journal/... ./backends/...

clean:
	rm -rf bin build

FORCE:
.PHONY: build install check deps deps-demo test demo fuzz bench bench-fs bench-sync clean FORCE
