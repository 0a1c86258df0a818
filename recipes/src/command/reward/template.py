"""The reward NAME. Change it into what you want to reward; `recipe reward test FILE` tries it.

It is called once for all completions of one question, with lists that have one element for each of them:
  prompts         the question, the same for all
  completions     what the policy wrote
  completion_ids  the same as token ids: len() of one is its length in tokens
and with every column that the tasks have (`answer`, say), if you ask for it by name or take **columns. Further
arguments with a default, as `words` here, are parameters: a recipe sets them with parameters = { words = 20 }.

Return a list with one number for each completion; None means that there is nothing to say on it. What you print is in
the run's folder, beside the completions. Python's standard library can be imported; there are no files and no network.
"""

import re


def reward(prompts, completions, words=40, **columns):
    """A quarter for giving an answer at all, and up to three more for being brief about it."""
    scores = []
    for completion in completions:
        answer = re.search(r"<answer>(.+?)</answer>", completion, re.DOTALL)
        if answer is None:
            scores.append(0.0)
            continue
        too_many = max(len(completion.split()) - words, 0)
        scores.append(0.25 + 0.75 * max(1 - too_many / words, 0.0))
    return scores
