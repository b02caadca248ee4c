# What the small scripts of a push share.
q64=????????????????????????????????????????????????????????????????
q130=??$q64$q64

# record RECORD: t what to do, x what to expect, e from there on, p the path, s where it is staged.
record() {
	case $1 in x*) t=x ;; d*) t=d ;; i*) t=i ;; f*) t=f ;; l*) t=l ;; esac
	e=${1#?}
	case $e in -*) x=- ;; f*) x=f ;; d*) x=d ;; l*) x=l ;; *) x=any ;; esac
	p=${1#$q130}
	s=$tmp/t/${p#./}
}

# tell CODE PATH: R refused, D deleted, E1 a parent is no directory, E2 a directory cannot be
# removed, E3 it could not be put into place.
tell() { printf '%s%s\0' "$1" "$2" >>"$tmp/out"; }

# reach PATH: makes the directories above it where they are missing. Fails where one is none.
reach() {
	while :; do
		parents "$1"
		case $pr in
		0) return 0 ;;
		1) mkdir -m 755 "$pc" || return 1 ;;
		*) return 1 ;;
		esac
		pd=
	done
}
