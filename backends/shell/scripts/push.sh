# stdin: one tar: the new tree below t/, then lists below c/, and c/end, the sums of the lists.
# Nothing in the home changes before all of it is here and every sum is right.
#
# Lists are NUL-separated. A record of del, dirs and files is: what to do (x delete; d directory,
# i one that only has to be there; f file, l symlink), what to expect (- nothing, f, d, l, or *
# anything), the SHA-256 expected, the SHA-256 sent, and the path.
begin
enter_home
make_tmp
drop_tmp_at_exit
(cd "$tmp" && exec tar -xpof -) || die 75 'tar could not unpack'
mkdir -p "$tmp/t" # not in the archive when all it brings is symlinks in the home itself
[ -f "$tmp/c/end" ] || die 75 'the archive did not come whole'
each() { # each LIST SCRIPT [COUNT]
	xargs -0 -r -n "${3:-300}" sh -c "$lib$push_lib$2" sh <"$tmp/$1"
}
got=$(cd "$tmp/c" && sums ./del ./dirs ./files ./links ./modes ./dmodes ./drop)
[ "$got" = "$(cat "$tmp/c/end")" ] || die 75 'a list is damaged'
each c/drop 'cd "$tmp/t" && rm -f "$@"' || die 75 'a file cannot be dropped'
each c/files "$push_verify" || die 75 'a file is damaged'
each c/links 'cd "$tmp/t" && ln -s -- "$1" "$2"' 2 || die 73 'a symlink cannot be made'
at=$tmp/t
export at
each c/modes "$push_modes" || die 73 'a mode cannot be set'

# From here on the home changes. A connection that breaks now does not stop half-way.
trap '' HUP
for list in del dirs files; do : >"$tmp/$list"; done
: >"$tmp/out"
: >"$tmp/refused"
for phase in check rm rmdir gone; do
	case $phase in
	check) list=del && export list && each c/del "$push_check" ;;
	*) export phase && each del "$push_delete" ;;
	esac || die 71 "xargs ended with $?"
done
for list in dirs files; do
	export list
	each "c/$list" "$push_check" || die 71 "xargs ended with $?"
done
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
