# stdin: words, NUL-separated: "r" and a root each, "x" and a word of find's expression each, and
# "z", without which the list did not come whole.
begin
enter_home
export lib stat_list
exec 3>&1
err=$(input | xargs -0 -r -x -s 120000 -n 20000 sh -c "$lib$manifest_walk" sh 2>&1 >&3)
printf 'Z%s\0%s\0' "$?" "$err"
finish
