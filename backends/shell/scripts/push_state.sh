# Arguments: records. Prints a line for each: the kind of what is there, of symlinks with the sum,
# * where anything will do, ! behind something that is no directory. The files whose sum matters
# go to the list hash.
exec 4>>"$tmp/hash"
for r; do
	record "$r"
	parents "$p"
	case $pr in
	0) kindof "$p" ;;
	1) k=- ;;
	*) k=! ;;
	esac
	case $k:$t:$x in
	!:*) ;;
	*:any) k=* ;;
	l:l:* | l:*:l) k=l$(linksum "$p") ;;
	f:f:* | f:*:f) printf '%s\0' "$p" >&4 ;;
	esac
	printf '%s\n' "$k"
done
exit 0
