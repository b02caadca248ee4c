# Arguments: records. Are the files staged the ones that were sent?
sums_of() {
	for r; do
		shift
		record "$r"
		set -- "$@" "$s"
	done
	sums "$@"
}
for r; do
	shift
	case $r in f*) set -- "$@" "$r" ;; esac
done
for h in $(sums_of "$@"); do
	r=$1
	shift
	case ${r#??$q64} in
	"$h"*) ;;
	*) exit 255 ;;
	esac
done
[ $# = 0 ] || exit 255
