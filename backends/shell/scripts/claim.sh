# Makes the home where it is missing and leaves the marker. stdin: the marker.
begin
if [ ! -d "$home" ]; then
	mkdir -p -- "$home" || die 73 "cannot make $home"
fi
enter_home
make_tmps
chmod 700 .hermesfs "$tmps"
sweep
make_tmp
input >"$tmp/id" && [ "$(wc -c <"$tmp/id")" -eq "$len" ] || die 75 'the marker did not come whole'
mv -f "$tmp/id" ".hermesfs/" || die 73 "cannot write $home/.hermesfs/id"
finish
