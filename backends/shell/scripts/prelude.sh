# Begins every script. Set before: n (random), home_opt, mount, instance, id, tar, sum, stat, lib
# and len, the bytes of a stdin that is a list.
LC_ALL=C TZ=UTC0
export LC_ALL TZ
unset IFS CDPATH TAR_OPTIONS GZIP POSIXLY_CORRECT BLOCK_SIZE
umask 077
set -f
export tar sum stat

begin() { printf '\n%s:begin\n' "$n"; }
finish() { printf '\n%s:end ok\n' "$n"; }
# die CODE MESSAGE: the last line of stdout says that it was the script that gave up.
die() {
	code=$1
	shift
	printf '%s\n' "$*" >&2
	printf '\n%s:fail %s\n' "$n" "$code"
	exit "$code"
}

eval "$lib"
[ -n "$HOME" ] || die 64 'HOME is not set in the sandbox'
case $home_opt in
'') home=$HOME/.hermes ;;
/*) home=$home_opt ;;
'~/'*) home=$HOME/${home_opt#??} ;;
*) die 64 "the home must be an absolute path or begin with ~/: $home_opt" ;;
esac
enter_home() { cd -P -- "$home" 2>/dev/null || die 3 "no directory $home"; }

# input: exactly the list, so that a channel that never delivers an end of file does not hang.
input() { head -c "$len"; }

# Private temporary directories are named MOUNT.INSTANCE.ID.PID.
tmps=.hermesfs/tmp
own_dir() { [ ! -L "$1" ] && [ -d "$1" ]; }
make_tmps() {
	for d in .hermesfs "$tmps"; do
		own_dir "$d" || mkdir -m 700 "$d" || die 73 "cannot make $home/$d"
		own_dir "$d" || die 73 "$home/$d is not a directory"
	done
}
make_tmp() {
	make_tmps
	tmp=$tmps/$mount.$instance.$id.$$
	export tmp
	# First: a signal may come as soon as the directory is there.
	trap 'trap "" HUP INT PIPE TERM; rm -rf "./$tmp"' EXIT
	trap 'exit 129' HUP INT PIPE TERM
	rm -rf "./$tmp"
	mkdir -m 700 "$tmp" || die 73 "cannot make $home/$tmp"
}
# What an earlier instance of this mount left and no process works on any more.
sweep() {
	own_dir .hermesfs && own_dir "$tmps" || return 0
	set +f
	for d in "$tmps/$mount".*; do
		set -f
		case ${d#"$tmps/$mount."} in "$instance".* | *[!0-9a-f.]*) continue ;; esac
		own_dir "$d" || continue
		kill -0 "${d##*.}" 2>/dev/null && continue
		rm -rf "./$d"
	done
	set -f
}
