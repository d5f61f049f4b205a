# SPDX-License-Identifier: Apache-2.0
# Loops, hashes, arrays, strings and regular expressions.
use strict;
my ($total, %seen) = (0);
for my $turn (1 .. $ARGV[0]) {
	my @list = map { ($_ * 7919 + $turn) % 1009 } 1 .. 4000;
	$seen{ "k" . ($_ % 211) } += $_ for @list;
	$total += $_ for sort { $a <=> $b } @list;
	my $text = join ' ', map { "item$_=" . ($_ * 3) } 1 .. 600;
	$total += $2 while $text =~ /(\w+)=(\d+)/g;
	$text =~ s/item(\d)/$1-thing/g;
	$total += length $text;
	for (my $i = 0 ; $i < 20000 ; $i++) {
		$total = ($total * 5 + $i) % 1000003 if $i & 1;
	}
}
print join(' ', $total, map { $seen{$_} } sort keys %seen), "\n";
