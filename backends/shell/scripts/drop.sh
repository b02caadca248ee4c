# Removes the temporary directory of one fetch.
begin
enter_home
own_dir .hermesfs && own_dir "$tmps" || die 73 "no directory $home/$tmps"
set +f
for tmp in "$tmps/$mount.$instance.$id".*; do rm -rf "./$tmp"; done
set -f
finish
