# Arguments: records of files and symlinks, those of a directory together: one mv for them.
# mv is always given a directory to move to: a path that is a symlink to one is replaced so.
flush() { [ $# = 0 ] || mv -f "$@" "$cur/"; }
cur='' first=1
for r; do
	[ -z "$first" ] || set --
	first=
	record "$r"
	[ -f "$s" ] || [ -L "$s" ] || continue
	if [ "${p%/*}" != "$cur" ]; then
		flush "$@"
		set --
		cur=${p%/*} ok=1
		reach "$p" || ok=0
	fi
	if [ $ok = 0 ]; then
		tell E1 "$p"
	elif [ -d "$p" ] && [ ! -L "$p" ] && ! rmdir "$p" 2>/dev/null; then
		tell E2 "$p"
	else
		# mv of busybox cannot replace a symlink that leads to itself.
		[ "$tar" = busybox ] && [ -L "$p" ] && [ ! -e "$p" ] && rm -f "$p"
		set -- "$@" "$s"
	fi
done
[ -n "$first" ] || flush "$@"
exit 0
