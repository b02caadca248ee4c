# Arguments: each a line of what is expected and, after it, a path that becomes a directory. What
# is no directory there and is expected goes, so that what comes below can be looked at.
for r; do
	p=./${r#*/}
	parents "$p"
	[ $pr = 0 ] || continue
	kindof "$p"
	case $k in
	- | d) continue ;;
	f) h=$(sums "$p") ;;
	l) h=$(linksum "$p") ;;
	*) h= ;;
	esac
	case $r in
	"*"* | "$k$h."*)
		rm -f "$p"
		pd=
		;;
	esac
done
exit 0
