package daytona

import (
	"fmt"
	"strings"
)

// jobScript runs one script in its own directory, in the background. Files in it:
//
//	script   what runs                        up.N     a piece of stdin on its way
//	stdin    there is a stdin                 in.N     one that is whole; end.N the last one
//	out      what it wrote to stdout          ack      how much of that was fetched
//	err      the last of its stderr           full     stdout could not be spooled
//	pid      of the job, its process group    code     the exit status, when all is over
//
// dd reads what is there and no more, so what is spooled can be fetched at once; a script that
// writes far more than is fetched waits.
const jobScript = `d=%[1]s
cd "$d" || exit
: >out
echo $$ >pid.new && mv pid.new pid || exit
nap() { sleep "$1" 2>/dev/null || sleep 1; }
feed() {
	i=0
	while :; do
		n=0
		until [ -f in.$i ] || [ -f end.$i ]; do
			if [ $n -lt 20 ]; then nap 0.02; else nap 0.2; fi
			n=$((n + 1))
		done
		if [ -f end.$i ]; then
			exec cat end.$i
		fi
		cat in.$i || return
		rm -f in.$i
		i=$((i + 1))
	done
}
spool() {
	n=0
	while :; do
		dd bs=65536 count=256 2>/dev/null >>out || { : >full; return; }
		m=$(($(wc -c <out)))
		[ "$m" -gt "$n" ] || return
		n=$m
		while a=$(cat ack 2>/dev/null); [ $((n - ${a:-0})) -gt %[2]d ]; do nap 0.05; done
	done
}
from=/dev/null f=
if [ -e stdin ]; then
	from=$d/fifo
	mkfifo fifo || exit
	feed >fifo &
	f=$!
fi
{ { (cd "${HOME:-/}" || cd /; exec sh "$d/script") <$from 2>&3 3>&-; echo $? >code.new; } | spool 3>&-; } 3>&1 | tail -c 4096 >err
[ -z "$f" ] || kill $f 2>/dev/null
mv code.new code
`

// stateScript waits until there is news of a job and says it: "run SIZE", "done SIZE CODE SUM FULL
// STDERR", "dead" or "gone".
const stateScript = `got=%[2]d
cd %[1]s 2>/dev/null || { say gone; exit; }
echo $got >ack.new && mv ack.new ack
size() { m=0; [ ! -f out ] || m=$(($(wc -c <out))); }
i=0
while size; [ ! -f code ] && [ $m -le $got ] && [ $i -lt %[3]d ]; do
	case $i in ?) nap 0.02 ;; ??) nap 0.1 ;; *) nap 0.25 ;; esac
	i=$((i + 1))
	if [ -f pid ] && ! kill -0 "$(cat pid)" 2>/dev/null && [ ! -f code ]; then say dead; exit; fi
done
if [ -f code ]; then
	full=0
	[ ! -f full ] || full=1
	size
	say done $m "$(cat code)" "$(sum out)" $full "x$(base64 <err | tr -d '\n')"
else
	size
	say run $m
fi
`

// startScript starts a job whose files are whole, once, however often it is run.
func startScript(dir string, files []sent) string {
	var b strings.Builder
	fmt.Fprintf(&b, "cd %s 2>/dev/null || { say gone; exit; }\n", quote(dir))
	b.WriteString("if [ ! -d started ]; then\n")
	for _, f := range files {
		fmt.Fprintf(&b, "\twhole %s %d %s || { say damaged; exit; }\n", f.name, f.size, f.sum)
	}
	b.WriteString("\tif mkdir started 2>/dev/null; then\n")
	for _, f := range files {
		if f.becomes != "" {
			fmt.Fprintf(&b, "\t\tmv %s %s\n", f.name, f.becomes)
		}
	}
	b.WriteString(`		s=
		! command -v setsid >/dev/null || s=setsid
		$s sh ./job </dev/null >/dev/null 2>&1 &
	fi
fi
`)
	return b.String()
}

// takeScript makes a piece of stdin that came whole one that the job reads. It says how many more
// wait, or that nobody reads them.
func takeScript(dir string, f sent) string {
	return fmt.Sprintf(`cd %s 2>/dev/null || { say gone; exit; }
if [ -f code ]; then say over; exit; fi
if [ -f %[2]s ]; then
	whole %[2]s %[3]d %[4]s || { say damaged; exit; }
	mv %[2]s %[5]s
fi
i=0
while set -- in.* && [ $# -gt %[6]d ] && [ ! -f code ] && [ $i -lt 40 ]; do
	nap 0.1
	i=$((i + 1))
done
say ok $#
`, quote(dir), f.name, f.size, f.sum, f.becomes, maxWaiting)
}

// endScript ends a job with all its processes and removes what there is of it.
func endScript(dir string) string {
	return fmt.Sprintf(`d=%s
p=$(cat "$d/pid" 2>/dev/null)
if [ -n "$p" ] && [ ! -f "$d/code" ]; then
	kill -TERM -$p 2>/dev/null || kill -TERM $p 2>/dev/null
	i=0
	while { kill -0 -$p 2>/dev/null || kill -0 $p 2>/dev/null; } && [ $i -lt 20 ]; do
		nap 0.05
		i=$((i + 1))
	done
	kill -KILL -$p 2>/dev/null || kill -KILL $p 2>/dev/null
fi
rm -rf "$d"
say ok
`, quote(dir))
}
