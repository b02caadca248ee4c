# Arguments: records. 5 and 6: what is expected and what is sent, 7: the kinds of what is there, 8:
# the sums of the files. What fits goes to the list $list.
exec 4>>"$tmp/$list" 9>>"$tmp/refused"
for r; do
	record "$r"
	IFS= read -r old <&5
	IFS= read -r new <&6
	IFS= read -r k <&7
	case $k:$t:$x in
	f:f:* | f:*:f) IFS= read -r h <&8 && k=f$h ;;
	esac
	case $k in
	!) [ $t = i ] || tell E1 "$p" ;;
	"$old" | "$new") printf '%s\0' "$r" >&4 ;;
	*)
		tell R "$p"
		case $t in [fl]) printf '%s\0' "$p" >&9 ;; esac
		;;
	esac
done
exit 0
