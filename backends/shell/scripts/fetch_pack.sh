# Arguments: paths. Adds an archive of them to the spool: archives in a row, each with its end.
case $tar in
bsd) tar -c -f - --format gnutar -n "$@" ;;
*) tar -c -f - --no-recursion "$@" ;;
esac >>"$tmp/spool" || exit 255
