# Prints records of each of the paths given that is still there: B, a count and as many paths,
# then as many lines of stat; T, a symlink and its target; U, a directory that cannot be read.
# With find: F, the stat, the path and a symlink's target.
show() {
	case $stat in
	c) stat -c '%f %s %i %h|%y|%z' "$@" ;;
	f) stat -f '%p %z %i %l|%Fm|%Fc' "$@" ;;
	esac
}
batch() {
	printf 'B%s\0' $#
	printf '%s\0' "$@"
	printf '%s\n' "$lines"
	for p; do
		if [ -L "$p" ]; then
			printf 'T%s\0' "$p"
			readlink -n "$p" 2>/dev/null
			printf '\0'
		elif [ -d "$p" ] && { [ ! -r "$p" ] || [ ! -x "$p" ]; }; then
			printf 'U%s\0' "$p"
		fi
	done
}
[ $# -gt 0 ] || exit 0
if [ "$stat" = find ]; then
	find "$@" -maxdepth 0 -printf 'F%y %m %s %T@ %C@ %i %n\0%p\0%l\0' 2>/dev/null
	exit 0
fi
lines=$(show "$@" 2>/dev/null)
c=0
IFS='
'
for l in $lines; do c=$((c + 1)); done
unset IFS
if [ $c = $# ]; then
	batch "$@"
else
	for p; do
		lines=$(show "$p" 2>/dev/null) && batch "$p"
	done
fi
exit 0
