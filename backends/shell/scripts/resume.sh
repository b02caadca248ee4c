# Sends a line and the rest of a spool, from the byte after skip.
begin
enter_home
set +f
for tmp in "$tmps/$mount.$instance.$id".*; do break; done
set -f
own_dir "$tmp" && [ -f "$tmp/spool" ] || die 75 'the spool is gone'
echo spool
tail -c "+$((skip + 1))" "$tmp/spool" || exit 1
finish
