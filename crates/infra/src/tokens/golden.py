"""Makes golden.json: counts of hard texts by tiktoken itself.

python3 golden.py > golden.json, with tiktoken installed and its vocabularies at hand (TIKTOKEN_CACHE_DIR, or a network).
"""

import json

import tiktoken

TEXTS = [
    # Blanks, line ends, tabs.
    (" ", 1), ("  ", 1), ("   \t \n \n", 1), ("x \n", 1), ("a\r\n\r\n  b   \n", 1), ("\r\r\n\n\r", 1), ("  x", 1), ("x  ", 1),
    ("\tif a:\n\t\treturn  b\n", 1), ("\u00a0\u2003x\u2028y\u3000z", 1), ("\x00\x01\x1b[31m\x7f", 1),
    # Words: contractions, capitals, digits, marks, lines of code.
    ("I'M we'LL dOn'T it's they'd I've you're", 1), ("\u017f's K's \u2019s don\u2019t", 1), ("HTTPServer getElementById XMLHttpRequest2", 1),
    ("1234567890 3.14159 1,000,000 0x1F 1e-10", 1), ("\u0661\u0662\u0663\u0664\u0665\u0666\u0667 \u00bd \u2167", 1),
    ("foo//\n//\nbar/\n", 1), ("!!!??? ... --- === ***", 1), ("fn main() { println!(\"{:?}\", a[0]); }", 1),
    ("https://example.org/a/b?c=d&e=%20f#g", 1), ("{\"a\":[1,2.50,null],\"b\":\"\\u00e9\"}", 1), ("aGVsbG8gd29ybGQhISEhIQ==", 1),
    ("snake_case-kebab-case.dotted::path\\back", 1),
    # Scripts.
    ("\u65e5\u672c\u8a9e\u30c6\u30ad\u30b9\u30c8\u3068\u6f22\u5b57\u3002", 1), ("\u4f60\u597d\uff0c\u4e16\u754c\uff01", 1),
    ("\uc548\ub155\ud558\uc138\uc694", 1), ("\u0417\u0434\u0440\u0430\u0432\u0441\u0442\u0432\u0443\u0439, \u043c\u0438\u0440", 1),
    ("\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645", 1), ("\u0928\u092e\u0938\u094d\u0924\u0947", 1),
    ("Stra\u00dfe \u00c5ngstr\u00f6m na\u00efve \u01c5", 1), ("e\u0301\u0301 n\u0303 \u0301", 1),
    # Joined signs, and what nobody sees.
    ("\U0001f469\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466\U0001f1e9\U0001f1ea\U0001f44d\U0001f3fd", 1), ("\u200d\u200c\u2060", 1),
    ("\ufeffabc", 1), ("\ufffd\ufffe", 1), ("\U0010ffff\ue000", 1),
    # What looks like a special token is text.
    ("<|endoftext|> hi", 1), ("<|im_start|>system<|im_sep|>x<|im_end|>", 1), ("<|fim_prefix|><|endofprompt|>", 1),
    # Long runs.
    (" ", 1000), ("\n", 500), ("a", 5000), ("^", 3000), ("\u00e9", 2000), ("\u5b57", 1000), ("\U0001f44d", 500), ("ab ", 2000), (" \n", 700),
    ("0", 1001),
]


def main():
    encodings = {name: tiktoken.get_encoding(name) for name in ("o200k_base", "cl100k_base")}
    rows = []
    for text, times in TEXTS:
        row = {"text": text, "times": times}
        row.update({name: len(encoding.encode_ordinary(text * times)) for name, encoding in encodings.items()})
        rows.append("    " + json.dumps(row, ensure_ascii=True))
    print('{\n  "tiktoken": "%s",\n  "texts": [\n%s\n  ]\n}' % (tiktoken.__version__, ",\n".join(rows)))


main()
