# stdin: paths, NUL-separated. For each a line: its SHA-256, or "-" for what is no readable file.
begin
enter_home
input | xargs -0 -r -n 300 sh -c "$lib$hash_list" sh || die 71 "xargs ended with $?"
finish
