# Arguments: paths. Only regular files are opened, what else there is could block.
marks='' all=1
for f; do
	parents "$f"
	if [ $pr = 0 ] && [ ! -L "$f" ] && [ -f "$f" ]; then
		marks="$marks 1"
	else
		marks="$marks 0" all=0
	fi
done
if [ $all = 1 ]; then
	sums "$@"
	exit 0
fi
for m in $marks; do # once around: what is a file stays
	f=$1
	shift
	[ "$m" = 0 ] || set -- "$@" "$f"
done
set -- $(sums "$@")
for m in $marks; do
	if [ "$m" = 1 ]; then
		printf '%s\n' "$1"
		shift
	else
		echo -
	fi
done
exit 0
