"""Counts texts as tiktoken does: each line of the file is a JSON list of texts, a message. Prints JSON.

python3 tokens.py FILE ROUNDS ENCODING...
"""

import json
import sys
import time

import tiktoken

path, rounds, names = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
with open(path, encoding="utf-8") as file:
    messages = [json.loads(line) for line in file]
encodings = []
for name in names:
    encoding = tiktoken.get_encoding(name)
    seconds = 0.0
    for _ in range(rounds):
        begun = time.perf_counter()
        counts = [sum(len(encoding.encode_ordinary(text)) for text in texts) for texts in messages]
        seconds += time.perf_counter() - begun
    encodings.append({"name": name, "counts": counts, "seconds": seconds / rounds})
print(json.dumps({"version": tiktoken.__version__, "encodings": encodings}))
