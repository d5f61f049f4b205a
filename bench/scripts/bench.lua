-- SPDX-License-Identifier: Apache-2.0
-- Tables, closures, strings, integers and floats.
local total = 0
local function queens(n, row, columns, up, down)
	if row > n then return 1 end
	local found = 0
	for c = 1, n do
		if not (columns[c] or up[row + c] or down[row - c]) then
			columns[c], up[row + c], down[row - c] = true, true, true
			found = found + queens(n, row + 1, columns, up, down)
			columns[c], up[row + c], down[row - c] = nil, nil, nil
		end
	end
	return found
end
local function heap(n)
	local h, sum = {}, 0
	for i = 1, n do
		local at = i
		h[at] = i * 7919 % 10007
		while at > 1 and h[at // 2] > h[at] do
			h[at // 2], h[at] = h[at], h[at // 2]
			at = at // 2
		end
		sum = sum + h[1]
	end
	return sum
end
for turn = 1, tonumber(arg[1]) do
	total = total + queens(6, 1, {}, {}, {}) + heap(4000)
	local parts = {}
	for i = 1, 1500 do parts[i] = string.format("%d:%s", i, ("x"):rep(i % 7)) end
	local text = table.concat(parts, ",")
	for a, b in text:gmatch("(%d+):(x*)") do total = total + tonumber(a) * #b end
	local f = 0.0
	for i = 1, 20000 do f = f + 1 / (i * i) end
	total = total + math.floor(f * 1000)
end
print(total)
