# Arguments: records to delete. phase: rm, then rmdir (children come before parents), then gone.
for r; do
	shift
	record "$r"
	kindof "$p"
	case $phase:$k in
	rm:[flo] | rmdir:d) set -- "$@" "$p" ;;
	gone:-) tell D "$p" ;;
	gone:d) tell E2 "$p" ;;
	gone:*) tell E3 "$p" ;;
	esac
done
case $phase:$# in
*:0) ;;
rm:*) rm -f "$@" ;;
rmdir:*) rmdir "$@" 2>/dev/null ;;
esac
exit 0
