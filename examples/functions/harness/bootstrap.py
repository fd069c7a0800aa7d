"""What Lambda's runtime does around a Python handler: one event a line in, one
answer a line out."""
import importlib.util
import json
import sys

spec = importlib.util.spec_from_file_location("function", sys.argv[1])
function = importlib.util.module_from_spec(spec)
spec.loader.exec_module(function)
for line in sys.stdin:
    try:
        answer = function.handler(json.loads(line), None)
    except Exception as error:
        answer = {"status": "error", "error": repr(error)}
    print(json.dumps(answer), flush=True)
