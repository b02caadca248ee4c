#!/usr/bin/env bash
# The whole loop on a generated home: mount, push, work on both sides, unmount, look at what came
# home. Ends non-zero if anything is not as it must be. It stays in a directory of its own and
# never touches ~/.hermes.
#
# It wants hermesfs and hermes-fixture in PATH; `make demo` builds them.
set -euo pipefail

work=$(mktemp -d "${TMPDIR:-/tmp}/hermesfs-demo.XXXXXX")
home=$work/home/.hermes sandbox=$work/sandbox mnt=$work/one
export HERMESFS_STATE_DIR=$work/state

cleanup() {
	status=$?
	hermesfs unmount --force one >/dev/null 2>&1 || true
	if [ "$status" = 0 ]; then
		rm -rf "$work"
	else
		echo "demo failed; what it left is in $work" >&2
	fi
}
trap cleanup EXIT
trap 'exit 130' INT TERM

say() { printf '\n\033[1m# %s\033[0m\n' "$*"; }
run() {
	printf '$ %s\n' "$(printf '%s ' "$@" | sed "s#$work/##g")"
	"$@"
}
# check WHAT TEST... ends the demo unless the test holds.
failed=0
check() {
	if "${@:2}"; then
		printf '  ok   %s\n' "$1"
	else
		printf '  FAIL %s\n' "$1"
		failed=1
	fi
}
missing() { [ ! -e "$1" ] && [ ! -L "$1" ]; }
is() { [ -f "$1" ] && [ "$(cat "$1")" = "$2" ]; }

say "A stock home, as an agent has it: skills, memories, secrets, a database"
run hermes-fixture -tier A "$home"
mkdir -p "$sandbox" "$mnt"
edited=$(cd "$home" && find skills -name SKILL.md | sort | sed -n 1p)
fought=$(cd "$home" && find skills -name SKILL.md | sort | sed -n 2p)
deleted=$(cd "$home" && find skills -name SKILL.md | sort | sed -n 3p)
script=$(cd "$home" && find skills -name '*.py' ! -perm -u+x | sort | sed -n 1p)
mine=$(cd "$home" && find skills -name '*.md' ! -name SKILL.md | sort | sed -n 1p)

say "Mount it, scoped to one sandbox (here a directory of this machine; ssh://user@host is the same)"
run hermesfs mount --backend "dir:$sandbox" "$home" "$mnt"
run hermesfs list
check "the mount shows the skills" [ -f "$mnt/$edited" ]
check "the sandbox has them" cmp -s "$home/$edited" "$sandbox/.hermes/$edited"
for secret in .env auth.json config.yaml memories; do
	check "$secret is in the home" [ -e "$home/$secret" ]
	check "$secret is neither in the mount nor in the sandbox" eval "missing '$mnt/$secret' && missing '$sandbox/.hermes/$secret'"
done
pushed=$(hermesfs journal list one --json | grep -o '"path"' | wc -l)
check "every pushed path is journaled with its SHA-256 ($pushed of them)" [ "$pushed" -gt 571 ]

say "The agent works in its sandbox"
(
	cd "$sandbox/.hermes"
	echo "learnt in the sandbox" >>"$edited"
	mkdir -p skills/new-category/brand-new
	printf -- '---\nname: brand-new\n---\n' >skills/new-category/brand-new/SKILL.md
	rm "$deleted"
	chmod +x "$script"
	echo "the sandbox's version" >"$fought"
	# What must not come home: a link out of the home, a fifo, a file that access does not let through.
	ln -s /etc/passwd skills/leak
	mkfifo skills/pipe
	echo 'approvals: {mode: "off"}' >config.yaml
)
echo "  edited $edited, made skills/new-category/brand-new, deleted $deleted, chmod +x $script"

say "Something local works in the mount: the home below stays as it is until the commit"
echo "written in the mount" >>"$mnt/$mine"
echo "made in the mount" >"$mnt/skills/from-mount.md"
check "the mount shows it" is "$mnt/skills/from-mount.md" "made in the mount"
check "the home does not have it" missing "$home/skills/from-mount.md"
run hermesfs push one
check "the sandbox has it after the push" is "$sandbox/.hermes/skills/from-mount.md" "made in the mount"
run hermesfs diff one

say "And the user edits a file at home that the sandbox edited too: a true conflict"
echo "the host's version" >"$home/$fought"

say "Unmount: fetch what changed, merge it into the home under its lock"
run hermesfs unmount one 2>&1 | tee "$work/unmount.log"

say "What came home"
check "the edit" grep -q "learnt in the sandbox" "$home/$edited"
check "the new skill, in a new category" [ -f "$home/skills/new-category/brand-new/SKILL.md" ]
check "the deletion" missing "$home/$deleted"
check "the executable bit" [ -x "$home/$script" ]
check "the mount's edit" grep -q "written in the mount" "$home/$mine"
check "the mount's new file" is "$home/skills/from-mount.md" "made in the mount"
check "the conflict: last write wins" is "$home/$fought" "the sandbox's version"
check "a warning named it" grep -q "$fought" "$work/unmount.log"
check "the link out of the home was refused" missing "$home/skills/leak"
check "the fifo was refused" missing "$home/skills/pipe"
check "config.yaml is the host's" eval "! grep -q approvals: '$home/config.yaml' || ! grep -q 'mode: \"off\"' '$home/config.yaml'"

say "The version that lost is kept, by its BLAKE3"
kept=$(grep -rlx "the host's version" "$HERMESFS_STATE_DIR/objects" || true)
echo "  ${kept#"$work"/}"
check "it is there" [ -n "$kept" ]

say "What both sides agreed on, and everything known of one path"
hermesfs journal list one | sed -n 1,5p
run hermesfs journal show one "$fought"
check "the journal has the new skill" eval "hermesfs journal list one --json | grep -q brand-new"
check "and no longer the deleted one" eval "! hermesfs journal list one --json | grep -q '\"$deleted\"'"

say "A second mount of the same name pushes only what changed"
run hermesfs mount --backend "dir:$sandbox" "$home" "$mnt"
check "a skill deleted in the sandbox does not come back" missing "$mnt/$deleted"
run hermesfs unmount one
check "nothing is mounted any more" eval "! grep -q ' $mnt ' /proc/self/mounts"

[ "$failed" = 0 ] || exit 1
printf '\nAll as it must be.\n'
