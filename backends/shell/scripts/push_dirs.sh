# Arguments: records of directories, parents first. One that is missing comes with all that is
# staged in it, in one rename; what is in it is then no longer staged.
for r; do
	record "$r"
	[ -d "$s" ] || continue
	kindof "$p"
	[ $k = - ] && reach "$p" && mv -f "$s" "$pd/"
done
exit 0
