# What the small scripts of a push share.

# record RECORD: t what to do, x the kind expected, p the path, s where it is staged.
record() {
	p=${1#??}
	s=$tmp/t/${p#./}
	case $1 in x*) t=x ;; d*) t=d ;; i*) t=i ;; f*) t=f ;; l*) t=l ;; esac
	case $1 in ?-*) x=- ;; ?f*) x=f ;; ?d*) x=d ;; ?l*) x=l ;; *) x=any ;; esac
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
