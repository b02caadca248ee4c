# Arguments: paths. Only regular files are opened, what else there is could block.
marks=
for f; do
	shift
	parents "$f"
	if [ $pr = 0 ] && [ ! -L "$f" ] && [ -f "$f" ]; then
		set -- "$@" "$f"
		marks="$marks 1"
	else
		marks="$marks 0"
	fi
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
