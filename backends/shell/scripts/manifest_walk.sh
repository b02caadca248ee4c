# Arguments: the words of manifest.sh. A root behind something that is no directory is not walked.
roots=0 whole=0
for w; do
	shift
	case $w in
	r*)
		parents "${w#r}"
		case $pr in
		0)
			set -- "$@" "${w#r}"
			roots=1
			;;
		2) printf 'L%s\0' "$pc" ;;
		3) printf 'U%s\0' "$pc" ;;
		esac
		;;
	x*) set -- "$@" "${w#x}" ;;
	z) whole=1 ;;
	esac
done
if [ $whole = 0 ]; then
	echo 'the list did not come whole' >&2
	exit 255
fi
[ $roots = 1 ] || exit 0
[ "$stat" != find ] || exec find "$@"
{
	find "$@"
	rc=$?
	[ $rc -le 1 ] || echo "find ended with $rc" >&2
} | xargs -0 -r -n 300 sh -c "$lib$stat_list" sh || echo "xargs ended with $?" >&2
