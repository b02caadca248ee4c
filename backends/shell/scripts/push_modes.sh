# Arguments: MODE:PATH each, below the directory $at.
cd "./$at" || exit 255
mode='' first=1
for r; do
	[ -z "$first" ] || set --
	first=
	m=${r%%:*} p=${r#*:}
	parents "$p"
	[ $pr = 0 ] && [ ! -L "$p" ] && [ -e "$p" ] || continue
	[ "$at" != . ] || [ -d "$p" ] || continue
	if [ "$m" != "$mode" ]; then
		[ $# = 0 ] || chmod "$mode" "$@"
		set --
		mode=$m
	fi
	set -- "$@" "$p"
done
[ -n "$first" ] || [ $# = 0 ] || chmod "$mode" "$@"
exit 0
