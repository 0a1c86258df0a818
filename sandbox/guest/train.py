"""What the interpreter is optimised for: build.py counts which paths this takes and compiles accordingly.

Small programs of the kind that exercises ask for, each compiled and run some times over: most of what the sandbox runs
is compiled once and ends within milliseconds, and some of it loops for long.
"""

import io
import traceback

PROGRAMS = [
    '''
def is_prime(n):
    if n < 2:
        return False
    for i in range(2, int(n ** 0.5) + 1):
        if n % i == 0:
            return False
    return True

def factors(n):
    found = []
    d = 2
    while d * d <= n:
        while n % d == 0:
            found.append(d)
            n //= d
        d += 1
    if n > 1:
        found.append(n)
    return found

def gcd(a, b):
    while b:
        a, b = b, a % b
    return a

assert sum(1 for n in range(2000) if is_prime(n)) == 303
assert factors(360360) == [2, 2, 2, 3, 3, 5, 7, 11, 13]
assert gcd(1071, 462) == 21
assert sum([d for d in range(1, 3000) if 3000 % d == 0]) == 6360
total = 0
for i in range(8000):
    total += i * i % 7
    total ^= i & 15
    total -= i >> 2
    total = (total * 31 + (i << 3)) % 1000003
assert sum(int(digit) for digit in str(2 ** 50)) == 76
''',
    '''
def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)

def lcs(a, b):
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            if a[i - 1] == b[j - 1]:
                table[i][j] = table[i - 1][j - 1] + 1
            else:
                table[i][j] = max(table[i - 1][j], table[i][j - 1])
    return table[-1][-1]

def knapsack(weights, values, room):
    best = [0] * (room + 1)
    for weight, value in zip(weights, values):
        for left in range(room, weight - 1, -1):
            best[left] = max(best[left], best[left - weight] + value)
    return best[room]

def permutations(items):
    if len(items) <= 1:
        return [items]
    return [[item] + rest for i, item in enumerate(items) for rest in permutations(items[:i] + items[i + 1:])]

memo = {}
def ways(n, coins):
    if n == 0:
        return 1
    if n < 0 or not coins:
        return 0
    if (n, len(coins)) not in memo:
        memo[n, len(coins)] = ways(n - coins[-1], coins) + ways(n, coins[:-1])
    return memo[n, len(coins)]

assert fib(16) == 987
assert lcs("the quick brown fox jumps over" * 2, "a lazy dog jumped over the fox" * 2) > 10
assert knapsack([3, 4, 5, 9, 14], [3, 4, 4, 10, 15], 200) > 30
assert len(permutations([1, 2, 3, 4, 5])) == 120
assert ways(100, (1, 5, 10, 25, 50)) == 292
''',
    r'''
import re
from collections import Counter, defaultdict, deque, OrderedDict

text = "The quick brown fox, having jumped over 13 lazy dogs (twice!), slept for 8.5 hours. " * 8
words = re.findall(r"[a-z]+", text.lower())
counts = Counter(words)
assert counts.most_common(2)[0][1] == 8
groups = defaultdict(list)
for word in words:
    groups[len(word)].append(word)
assert re.sub(r"\s+", " ", text).strip().startswith("The")
assert re.match(r"^(\w+)\s(\w+)", text).group(2) == "quick"
assert re.split(r"[,.!?()]+", text)[1].strip() == "having jumped over 13 lazy dogs"
pattern = re.compile("ab{2,3}")
assert pattern.search("xxabbbyy") is not None and not pattern.search("xxabyy")

def palindrome(s):
    s = "".join(c for c in s.lower() if c.isalnum())
    return s == s[::-1]

def caesar(s, shift):
    out = []
    for c in s:
        if c.isalpha():
            base = ord("A") if c.isupper() else ord("a")
            out.append(chr((ord(c) - base + shift) % 26 + base))
        else:
            out.append(c)
    return "".join(out)

assert palindrome("A man, a plan, a canal: Panama")
assert caesar(caesar(text, 3), -3) == text
assert text.title().swapcase().count("THE") == 0
assert " ".join(reversed("one two three".split())) == "three two one"
assert "%s-%05d-%.3f" % ("x", 42, 3.14159) == "x-00042-3.142"
assert f"{3.14159:.2f}|{42:>6}|{'left':<8}|{255:x}|{1e10:,.0f}" == "3.14|    42|left    |ff|10,000,000,000"
assert "{} {name!r}".format(1, name="n") == "1 'n'"
vowels = "".join(ch for ch in text if ch not in "aeiouAEIOU")
assert len(vowels) < len(text)
table = {}
for i in range(1200):
    key = "k%d" % (i % 100)
    table[key] = table.get(key, 0) + i
assert sum(table.values()) == sum(range(1200))
queue = deque([1, 2, 3], maxlen=4)
queue.extend([4, 5]); queue.rotate(1); queue.appendleft(0)
assert list(OrderedDict.fromkeys("abracadabra")) == ["a", "b", "r", "c", "d"]
''',
    '''
import heapq, itertools, functools, math, bisect, operator, random, copy

class Vector:
    def __init__(self, x, y):
        self.x = x
        self.y = y

    def __add__(self, other):
        return Vector(self.x + other.x, self.y + other.y)

    def __eq__(self, other):
        return isinstance(other, Vector) and (self.x, self.y) == (other.x, other.y)

    def __repr__(self):
        return f"Vector({self.x}, {self.y})"

    @property
    def length(self):
        return math.sqrt(self.x ** 2 + self.y ** 2)

    @staticmethod
    def zero():
        return Vector(0, 0)

class Stack:
    def __init__(self):
        self.items = []
    def push(self, item):
        self.items.append(item)
    def pop(self):
        if not self.items:
            raise IndexError("empty")
        return self.items.pop()
    def __len__(self):
        return len(self.items)

total = Vector.zero()
for i in range(300):
    total = total + Vector(i, -i)
assert total == Vector(44850, -44850) and total.length > 0
stack = Stack()
for i in range(200):
    stack.push(i)
while len(stack):
    stack.pop()
try:
    stack.pop()
except IndexError as error:
    assert str(error) == "empty"

def dijkstra(graph, start):
    distances, heap = {start: 0}, [(0, start)]
    while heap:
        distance, node = heapq.heappop(heap)
        for neighbour, weight in graph[node].items():
            new = distance + weight
            if new < distances.get(neighbour, math.inf):
                distances[neighbour] = new
                heapq.heappush(heap, (new, neighbour))
    return distances

graph = {i: {(i * 7 + j) % 60: j + 1 for j in range(4)} for i in range(60)}
dijkstra(graph, 0)
random.seed(7)
data = [random.randint(0, 10 ** 6) for _ in range(800)]
assert sorted(data)[0] == min(data) and sorted(data, key=lambda n: -n)[0] == max(data)
pairs = sorted(((i % 17, str(i)) for i in range(300)), key=operator.itemgetter(1, 0), reverse=True)
for i in range(1, 60):
    for j in range(0, 60 - i):
        if data[j] > data[j + 1]:
            data[j], data[j + 1] = data[j + 1], data[j]

def quick(items):
    if len(items) <= 1:
        return items
    pivot = items[len(items) // 2]
    return (quick([x for x in items if x < pivot]) + [x for x in items if x == pivot]
            + quick([x for x in items if x > pivot]))

def merge(left, right):
    out, i, j = [], 0, 0
    while i < len(left) and j < len(right):
        if left[i] <= right[j]:
            out.append(left[i]); i += 1
        else:
            out.append(right[j]); j += 1
    return out + left[i:] + right[j:]

assert quick(data) == sorted(data) and merge(quick(data[:300]), quick(data[300:])) == sorted(data)
assert functools.reduce(lambda a, b: a * b, range(1, 60)) == math.factorial(59)
assert sum(x * y for x, y in itertools.product(range(30), repeat=2)) == 189225
assert [len(list(group)) for _, group in itertools.groupby("aaabbc")] == [3, 2, 1]
assert list(map(lambda t: t[0] + t[1], zip(range(50), range(50))))[-1] == 98
assert bisect.bisect_left([1, 3, 5, 7], 4) == 2 and any(map(str.isdigit, "a1"))
lists = [[i, [j for j in range(5)]] for i in range(40)]
assert copy.deepcopy(lists) == lists
assert {frozenset(c) for c in itertools.combinations(range(8), 3)} and set(range(9)) - {1, 2} and {1} | {2} & {2, 3}
unique = set()
for value in data:
    if value not in unique:
        unique.add(value)
x = 0.0
for i in range(3000):
    x = x * 0.5 + i / 3.0 - math.sin(i)
matrix = [[i * j for j in range(12)] for i in range(12)]
product = [[sum(a * b for a, b in zip(row, column)) for column in zip(*matrix)] for row in matrix]
sieve = [True] * 3000
for i in range(2, 55):
    if sieve[i]:
        for j in range(i * i, 3000, i):
            sieve[j] = False

@functools.lru_cache(maxsize=None)
def stairs(n):
    return 1 if n < 2 else stairs(n - 1) + stairs(n - 2)
assert stairs(90) == 4660046610375530309
big = 1
for i in range(1, 300):
    big *= i
assert len(str(big)) > 600 and big % 7919 > 0
assert pow(3, 10 ** 5, 10 ** 9 + 7) > 0 and int("9" * 200) // 7 > 0
''',
    '''
import json, sys, io, string, datetime, statistics
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import List, Optional, Dict

@dataclass(order=True)
class Item:
    name: str
    price: float
    tags: List[str] = field(default_factory=list)

    def total(self, count: int) -> float:
        return self.price * count

items = [Item("n%d" % i, i * 1.5, ["a", "b"]) for i in range(40)]
assert max(items, key=lambda item: item.price).name == "n39" and sorted(items)[0].name == "n0"
record = {"items": [item.__dict__ for item in items], "ok": True, "none": None, "nested": {"x": [1, 2.5, "s"]}}
assert json.loads(json.dumps(record, indent=1, sort_keys=True)) == record
assert sum(map(Decimal, ["0.1"] * 3)) == Decimal("0.3") and Fraction(1, 3) + Fraction(1, 6) == Fraction(1, 2)
assert datetime.date(2024, 2, 29) + datetime.timedelta(days=1) == datetime.date(2024, 3, 1)
assert statistics.mean([1, 2, 3, 4]) == 2.5

def numbers(limit: Optional[int] = None):
    n = 0
    while limit is None or n < limit:
        yield n
        n += 1

assert sum(n for n in numbers(1500) if n % 3) == 750000
out = io.StringIO()
for line in "3 4\\n5 6\\n7 8\\n".splitlines():
    a, b = map(int, line.split())
    print(a + b, a * b, sep=",", file=out)
assert out.getvalue().split()[0] == "7,12"

def parse(tokens):
    def expression(i):
        value, i = term(i)
        while i < len(tokens) and tokens[i] in "+-":
            right, j = term(i + 1)
            value = value + right if tokens[i] == "+" else value - right
            i = j
        return value, i
    def term(i):
        value, i = factor(i)
        while i < len(tokens) and tokens[i] == "*":
            right, i = factor(i + 1)
            value *= right
        return value, i
    def factor(i):
        if tokens[i] == "(":
            value, i = expression(i + 1)
            return value, i + 1
        return int(tokens[i]), i + 1
    return expression(0)[0]

assert parse(list("2*(3+4)*5-6")) == 64

class Node:
    __slots__ = ("value", "left", "right")
    def __init__(self, value, left=None, right=None):
        self.value, self.left, self.right = value, left, right

def insert(node, value):
    if node is None:
        return Node(value)
    if value < node.value:
        node.left = insert(node.left, value)
    else:
        node.right = insert(node.right, value)
    return node

def walk(node):
    if node:
        yield from walk(node.left)
        yield node.value
        yield from walk(node.right)

root = None
for i in range(120):
    root = insert(root, i * 37 % 120)
assert list(walk(root)) == list(range(120))

def check(*args, **options):
    match args:
        case (int(), str() as text):
            return text
        case [first, *rest]:
            return first
        case _:
            return options.get("default")

for i in range(60):
    try:
        if check(i, "x") == "x" and i % 3 == 0:
            raise ValueError(i)
        [1, 2, 3][i]
    except (ValueError, IndexError) as error:
        text = repr(error)
    finally:
        i += 1
with io.StringIO("a b") as file:
    assert file.read().split() == ["a", "b"]
a, *b = [1, 2, 3]; c = {**{"x": 1}, "y": 2}; d = lambda *p, q=1: (p, q)
assert isinstance(a, int) and callable(d) and d(1, q=2) == ((1,), 2) and not (a is None) and a < 2 <= 2 != 3
assert bytes([1, 2, 3]).hex() == "010203" and bin(10)[2:].zfill(8) == "00001010" and hex(255) == "0xff"
''',
    '''
def solve(board):
    def conflicts(row, column):
        return any(c == column or abs(c - column) == row - r for r, c in enumerate(board[:row]))
    def place(row):
        if row == len(board):
            return 1
        count = 0
        for column in range(len(board)):
            if not conflicts(row, column):
                board[row] = column
                count += place(row + 1)
        return count
    return place(0)

assert solve([0] * 5) == 10

def bfs(grid, start, goal):
    queue, seen = [(start, 0)], {start}
    while queue:
        (x, y), steps = queue.pop(0)
        if (x, y) == goal:
            return steps
        for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            nx, ny = x + dx, y + dy
            if 0 <= nx < len(grid) and 0 <= ny < len(grid[0]) and grid[nx][ny] == "." and (nx, ny) not in seen:
                seen.add((nx, ny))
                queue.append(((nx, ny), steps + 1))
    return -1

assert bfs(["." * 14] * 14, (0, 0), (13, 13)) == 26

def roman(n):
    out = ""
    for value, text in ((1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"), (50, "L"),
                        (40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I")):
        while n >= value:
            out += text
            n -= value
    return out

assert roman(1994) == "MCMXCIV"
collatz = {}
for start in range(1, 300):
    n, steps = start, 0
    while n != 1:
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        steps += 1
    collatz[start] = steps
assert max(collatz.values()) > 100
print("done", len(collatz), [1, 2.5, "x", None, (1,), {"a": {1}}], end="\\n")
''',
]

FAILURES = [
    "x = [1, 2\n",
    "def f():\n    return 1 / 0\nf()\n",
    "assert 1 == 2, 'no'\n",
    "{}['key']\n",
    "import nothing\n",
]


def code_of(source):
    return compile(source, "<program>", "exec", dont_inherit=True)


def train(times):
    for _ in range(times):
        for source in PROGRAMS:
            exec(code_of(source), {"__name__": "__main__"})
            # Compiling is what most short programs spend most of their time on.
            for _ in range(3):
                code_of(source)
        for source in FAILURES:
            try:
                exec(code_of(source), {})
            except Exception as error:
                traceback.print_exception(error, file=io.StringIO())


train(12)
