# Functions for the outer script and for the small ones that xargs runs over many names at once.
# Names are relative to the home and begin with "./". Nothing here forks for a name alone.
set -f

# kindof PATH: k is f, d, l, o (other) or - (nothing).
kindof() {
	if [ -L "$1" ]; then k=l
	elif [ -f "$1" ]; then k=f
	elif [ -d "$1" ]; then k=d
	elif [ -e "$1" ]; then k=o
	else k=-
	fi
}

# parents PATH: pr is 0 when every directory above PATH is a real one, 1 when one is missing,
# 2 when one is a symlink or something else, 3 when one cannot be searched; pc is that one. The
# last answer is kept in pd.
pd=
parents() {
	case $1 in "$pd"/*)
		case ${1#"$pd"/} in */*) ;; *) return ;; esac ;;
	esac
	pd=${1%/*} pr=0 pc=.
	rest=${pd#.}
	rest=${rest#/}
	while [ -n "$rest" ]; do
		pc=$pc/${rest%%/*}
		case $rest in */*) rest=${rest#*/} ;; *) rest= ;; esac
		if [ -L "$pc" ]; then pr=2
		elif [ -d "$pc" ]; then
			[ -x "$pc" ] || pr=3
		elif [ -e "$pc" ]; then pr=2
		else pr=1
		fi
		[ $pr = 0 ] || return
	done
}

# sums FILE...: for each a line, its SHA-256 or "-". One process for all where their names allow
# it (some tools escape names, some do not) and all can be read.
sums() {
	[ $# -gt 0 ] || return 0
	hs=$($sum "$@" 2>/dev/null </dev/null | cut -c1-64)
	c=0
	for h in $hs; do
		case $h in *[!0-9a-f]*) c=-1; break ;; esac
		[ ${#h} = 64 ] || { c=-1; break; }
		c=$((c + 1))
	done
	if [ $c = $# ]; then
		printf '%s\n' "$hs"
		return
	fi
	for f; do
		h=$({ $sum <"$f"; } 2>/dev/null | cut -c1-64)
		printf '%s\n' "${h:--}"
	done
}

# linksum LINK: the SHA-256 of its target.
linksum() {
	lt=$(readlink -n "$1" 2>/dev/null && echo x)
	printf %s "${lt%x}" | $sum | cut -c1-64
}
