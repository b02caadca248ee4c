# Arguments: paths. What is there goes to the list want, and files also to files.
exec 4>>"$tmp/want" 5>>"$tmp/files"
for p; do
	parents "$p"
	case $pr in
	1) continue ;;
	2 | 3)
		printf 'E%s%s\0' $pr "$p"
		continue
		;;
	esac
	kindof "$p"
	case $k in
	f)
		if [ ! -r "$p" ]; then
			printf 'E4%s\0' "$p"
			continue
		fi
		printf '%s\0' "$p" >&5
		;;
	o)
		printf 'E5%s\0' "$p"
		continue
		;;
	-) continue ;;
	esac
	printf '%s\0' "$p" >&4
done
exit 0
