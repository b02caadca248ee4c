# stdin: one tar: the new tree below t/, then lists below c/, and c/end, the sums of the lists.
# Nothing in the home changes before all of it is here and every sum is right.
#
# Records are NUL-separated: what to do (x delete; d directory, i one that only has to be there;
# f file, l symlink), the kind of what is expected (- nothing, f, d, l, or * anything), the path.
# LIST.old has a line for each: what is expected, LIST.new: what is sent. Such a line is a kind
# and, of files and symlinks, a SHA-256. LIST.sums has the sums of the files expected.
begin
enter_home
make_tmp
(cd "$tmp" && exec tar -xpof -) || die 75 'tar could not unpack'
mkdir -p "$tmp/t" # not in the archive when all it brings is symlinks in the home itself
[ -f "$tmp/c/end" ] || die 75 'the archive did not come whole'
each() { # each LIST SCRIPT [COUNT]
	xargs -0 -r -n "${3:-300}" sh -c "$lib$push_lib$2" sh <"$tmp/$1"
}
all_sums() { xargs -0 -r -n 300 sh -c "$lib"'sums "$@"' sh; }
same() { [ "$(cat "$tmp/$1")" = "$(cat "$tmp/$2")" ]; }

got=$(cd "$tmp/c" && sums $lists)
[ "$got" = "$(cat "$tmp/c/end")" ] || die 75 'a list is damaged'
each c/drop 'cd "$tmp/t" && rm -f "$@"' || die 75 'a file cannot be dropped'
each c/files 'for r; do case $r in f*) record "$r"; printf "%s\0" "$s" ;; esac; done' | all_sums >"$tmp/sent"
same sent c/sent || die 75 'a file is damaged'
each c/links 'cd "$tmp/t" && ln -s -- "$1" "$2"' 2 || die 73 'a symlink cannot be made'
at=$tmp/t
export at
each c/modes "$push_modes" || die 73 'a mode cannot be set'

# From here on the home changes. A connection that breaks now does not stop half-way.
trap '' HUP PIPE
: >"$tmp/out"
: >"$tmp/refused"

# check LIST: those whose path holds what is expected, or already what is sent, go to $tmp/LIST.
# Mostly all do: then the lists are equal as they are.
check() {
	list=$1
	export list
	: >"$tmp/hash"
	each "c/$list" "$push_state" >"$tmp/kinds" || die 71 "xargs ended with $?"
	all_sums <"$tmp/hash" >"$tmp/sums"
	cut -c1 "$tmp/c/$list.old" >"$tmp/old"
	if same kinds old && same sums "c/$list.sums"; then
		mv "$tmp/c/$list" "$tmp/$list"
	else
		: >"$tmp/$list"
		each "c/$list" "$push_judge" 5<"$tmp/c/$list.old" 6<"$tmp/c/$list.new" 7<"$tmp/kinds" 8<"$tmp/sums" || die 71 "xargs ended with $?"
	fi
}
pick() { each del 'for r; do record "$r"; kindof "$p"; case $k in '"$1"') printf "%s\0" "$p" ;; esac; done'; }
check del
pick '[flo]' | xargs -0 -r rm -f
pick d | xargs -0 -r rmdir 2>/dev/null # children come before parents
each del 'for r; do record "$r"; kindof "$p"; case $k in -) tell D "$p" ;; d) tell E2 "$p" ;; *) tell E3 "$p" ;; esac; done'
each c/clear "$push_clear"
check dirs
check files
each refused 'cd "$tmp/t" && rm -f "$@"'
each dirs "$push_dirs"
each files "$push_files"
at=.
each c/dmodes "$push_modes"
cat "$tmp/out"
: >"$tmp/out"
{
	each dirs "$push_done"
	each files "$push_done"
} >"$tmp/done"
cat "$tmp/out"
each done "$stat_list"
printf 'Z0\0\0'
finish
