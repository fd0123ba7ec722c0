import base64
import io

import numpy as np
from PIL import Image

from regrow.dataset.directory import Dataset
from regrow.evaluation.mistakes import find_mistakes


def test_what_the_parent_gets_right_comes_first_then_the_most_confident(digits: Dataset) -> None:
    labels = np.asarray(digits.labels("test"))
    right = np.eye(10)[labels]
    parent, found = right.copy(), right * 0.9 + 0.01
    for index, share in ((3, 0.6), (7, 0.8), (11, 0.95)):
        found[index] = 0
        found[index, (labels[index] + 1) % 10] = share
    parent[11] = found[11]
    told = find_mistakes(digits, {"parent": parent, "recovered": found})
    assert [item["confidence"] for item in told] == ["80%", "60%", "95%"]
    assert [item["parent_right"] for item in told] == [True, True, False]
    assert told[0]["actual"] == digits.classes[labels[7]]
    assert told[0]["predicted"] == digits.classes[(labels[7] + 1) % 10]
    head, _, content = told[0]["picture"].partition(",")
    assert head == "data:image/png;base64"
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))
    expected = np.rint(np.asarray(digits.features("test")[7], float)[..., 0] * 255 / 16)
    np.testing.assert_array_equal(image[..., 0], expected)
    assert len(find_mistakes(digits, {"parent": parent, "recovered": found}, shown=2)) == 2
    assert find_mistakes(digits, {"parent": parent, "recovered": right}) == []
