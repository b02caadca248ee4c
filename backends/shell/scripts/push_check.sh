# Arguments: records. Those whose path holds what is expected, or already what was sent, go to the
# list $list.
sums_of() {
	for r; do
		shift
		set -- "$@" "${r#$q130}"
	done
	sums "$@"
}
# pass: a file or a link that becomes a directory goes now, so that what comes below it can be
# looked at.
pass() {
	case $t:$k in d:[flo])
		rm -f "$p"
		pd= ;;
	esac
	printf '%s\0' "$r" >&4
}
refuse() {
	tell R "$p"
	case $t in [fl]) printf '%s\0' "$p" >>"$tmp/refused" ;; esac
}
# compare SUM: of what is there, which is of the kind k.
compare() {
	case $x${e#?} in "$k$h"*) pass; return ;; esac
	case $t${e#?$q64} in "$k$h"*) pass; return ;; esac
	refuse
}
exec 4>>"$tmp/$list"
for r; do
	shift
	record "$r"
	parents "$p"
	case $pr in
	0) kindof "$p" ;;
	1) k=- ;;
	*)
		[ $t = i ] || tell E1 "$p"
		continue
		;;
	esac
	case $t:$x:$k in
	*:any:* | x:*:- | [di]:*:d | *:-:- | *:d:d) pass ;;
	d:f:f)
		h=$(sums "$p")
		compare
		;;
	f:*:f | x:f:f | l:f:f) set -- "$@" "$r" ;;
	l:*:l | *:l:l)
		h=$(linksum "$p")
		compare
		;;
	*) refuse ;;
	esac
done
k=f
for h in $(sums_of "$@"); do
	r=$1
	shift
	record "$r"
	compare
done
exit 0
