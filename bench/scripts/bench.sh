# SPDX-License-Identifier: Apache-2.0
# What shell scripts do: arithmetic, words, case, functions, and now and then a subshell.
n=$1 i=0 sum=0 text=
check()
{
	case $1 in
	*[13579]) return 0 ;;
	*) return 1 ;;
	esac
}
while [ $i -lt "$n" ]; do
	i=$((i + 1))
	if check $i; then sum=$((sum + i % 7)); else sum=$((sum * 3 % 65537)); fi
	text="$text$((i % 10))"
	[ ${#text} -gt 60 ] && text=${text#?????????????????????????????} && set -- $text a b c
	for word in one two three; do sum=$((sum + ${#word})); done
	[ $((i % 500)) -eq 0 ] && sum=$((sum + $(echo $((i % 11)))))
done
echo "$sum $text"
