# Arguments: records. Prints the paths of those that are in place.
for r; do
	record "$r"
	case $t in
	i) continue ;;
	d) [ ! -L "$p" ] && [ -d "$p" ] ;;
	*) [ ! -L "$s" ] && [ ! -e "$s" ] ;;
	esac && printf '%s\0' "$p" || tell E3 "$p"
done
exit 0
