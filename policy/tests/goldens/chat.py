"""What transformers makes of chat templates that use all that such templates use: writes chat.json.

    pip install transformers==5.23.0 jinja2==3.1.6
    python chat.py
"""

import json
import pathlib

import jinja2
from transformers.utils.chat_template_utils import render_jinja_template

TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "  What is <7 & 8>?\n"},
    {"role": "assistant", "content": "<think>\nseven, \"eight\"\n</think>\n\n15 é"},
    {"role": "user", "content": "Sure?"},
]
TOOLS = [{"name": "add", "parameters": {"b": {"type": "number"}, "a": [1, 2.5, True, None]}}]

TEMPLATES = {
    # Blocks on lines of their own leave no trace; begin and end tokens are variables.
    "blocks": """{{ bos_token }}{% for message in messages %}
    {%- if message['role'] == 'system' %}
<<{{ message.content | trim }}>>
    {% else %}
[{{ message['role'] }}] {{ message['content'].strip() + eos_token }}
    {% endif %}
{% endfor %}
{% if add_generation_prompt %}
[assistant]
{% endif %}""",
    # The thoughts of earlier turns are taken out, as reasoning models' templates do.
    "thoughts": """{%- set ns = namespace(last=0, first=true) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages | length - 1) - loop.index0 %}
    {%- if message.role == 'user' and message.content is string %}
        {%- set ns.last = index %}
        {%- break %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.role == 'system' %}{% continue %}{% endif %}
    {%- set content = message.content %}
    {%- if '</think>' in content and loop.index0 < ns.last %}
        {%- set thought = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
        {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {{- '(' ~ thought | upper ~ ')' }}
    {%- endif %}
    {{- '<|' + message.role + '|>' + content }}
    {%- if not loop.last %}{{ '\\n' }}{% endif %}
{%- endfor %}
{%- if add_generation_prompt and enable_thinking is defined and enable_thinking is false %}{{ '\\n<think></think>' }}{% endif %}""",
    "tools": """{%- macro line(tool) %}{{ tool.name }}: {{ tool.parameters | tojson }}{% endmacro %}
{%- if tools is not none and tools %}
{%- for tool in tools %}
{{ line(tool) }}
{{ tool | tojson(indent=4) }}
{%- endfor %}
{%- for key, value in tools[0].items() %} {{ key }}={{ value | string | length }}{% endfor %}
{%- endif %}
{{ messages | map(attribute='role') | join(',') }} {{ messages[-1]['content'].endswith('?') }} {{ 'x' if messages[0].get('name') else 'y' }}""",
    # What is not given is none rather than undefined.
    "documents": """{% if documents is not none %}{{ documents | map(attribute='title') | join('; ') }}{% endif %}
{{ tools is none }} {{ documents is none }} {{ documents is defined }} {{ citations is defined }}""",
    # Lines that end as on Windows are lines like any others; what is spelled stays.
    "crlf": "[{{ messages | length }}]\r\n{% for message in messages %}\r\n<{{ message.role }}>\r{% endfor %}{{ 'a\\r\\n' }}\r\n",
    "strings": """{%- set text = messages[2].content %}
{{- text.partition('</think>')[2].strip() }}|{{ text.partition('none') | length }}|{{ text.rpartition('e')[0] }}
{{- text.rpartition('none') | join('+') }}|{{ text.rsplit('</think>', 1)[-1].lstrip() }}|{{ text.rsplit('e') | join('+') }}
{{- 'a.b.c'.rsplit('.', 1) | join('+') }}|{{ 'a.b.c'.rsplit('.', -1) | length }}|{{ 'a.b.c'.rsplit('.', 0) | join('+') }}
{{- text.removeprefix('<think>').removesuffix('é').removesuffix('x') }}|{{ '%s, %d' | format(messages[0].role, 3) }}""",
    "refusal": """{% if messages[0].role == 'system' %}{{ raise_exception('no system message, please') }}{% endif %}""",
}
VARIABLES = dict(bos_token="<s>", eos_token="</s>")


def case(name, add_generation_prompt=True, **variables):
    record = dict(
        name=name, template=TEMPLATES[name], messages=TALK, add_generation_prompt=add_generation_prompt, variables=variables
    )
    try:
        texts, _ = render_jinja_template(
            conversations=[TALK], chat_template=TEMPLATES[name], add_generation_prompt=add_generation_prompt,
            **VARIABLES, **variables,
        )
        record["expected"] = texts[0]
    except jinja2.exceptions.TemplateError as error:
        record["error"] = str(error)
    return record


cases = [
    case("blocks"),
    case("blocks", add_generation_prompt=False),
    case("thoughts"),
    case("thoughts", enable_thinking=False),
    case("tools"),
    case("tools", tools=TOOLS),
    case("documents"),
    case("documents", documents=[{"title": "Sums", "text": "7 + 8 = 15"}, {"title": "Products", "text": ""}]),
    case("crlf"),
    case("strings"),
    case("refusal"),
]
path = pathlib.Path(__file__).with_name("chat.json")
path.write_text(json.dumps(cases, indent=1, ensure_ascii=False) + "\n")
