# stdin: paths, NUL-separated. Packs the files among them into a spool file and sends it. Before
# it come records: the stat of each path before packing, M, the same after it, and Z with what
# tar said; then a line with the spool's length and SHA-256. one=1: each file an archive of its own.
begin
enter_home
make_tmp
input >"$tmp/list" && [ "$(wc -c <"$tmp/list")" -eq "$len" ] || die 75 'the list did not come whole'
export tmp one
COPYFILE_DISABLE=1
export COPYFILE_DISABLE
each() { xargs -0 -r -n "${3:-300}" sh -c "$lib$2" sh <"$tmp/$1"; }

: >"$tmp/files"
: >"$tmp/spool" || die 73 'cannot write a spool file'
each list "$fetch_pick" || die 71 "xargs ended with $?"
each want "$stat_list"
printf 'M\0'
rc=0
case $tar$one in
gnu*)
	[ ! -s "$tmp/files" ] || err=$(tar -c -f "$tmp/spool" --format=gnu --hard-dereference --no-recursion --quoting-style=escape --null -T "$tmp/files" 2>&1)
	rc=$?
	[ $rc != 1 ] || rc=0 # a file changed: its stat says so
	;;
bsd)
	[ ! -s "$tmp/files" ] || err=$(tar -c -f "$tmp/spool" --format gnutar -n --null -T "$tmp/files" 2>&1)
	rc=$?
	;;
*)
	n1=300
	[ -z "$one" ] || n1=1
	err=$(each files "$fetch_pack" $n1 2>&1)
	rc=$?
	;;
esac
each want "$stat_list"
printf 'Z%s\0%s\0' "$rc" "$err"
if [ $rc != 0 ]; then
	finish
	exit 0
fi
printf '%s %s\n' "$(($(wc -c <"$tmp/spool")))" "$(sums "./$tmp/spool")"

# The spool stays, for what of it gets lost on the way, until the near side drops it.
trap - EXIT HUP
trap 'trap "" HUP INT TERM; rm -rf "./$tmp"; exit 143' INT TERM
cat "$tmp/spool" || exit 1 # and not a word more: it would be taken for the rest
finish
