import dataclasses

import numpy as np

from bottleneck.data.resizing.view_recipe import ViewRecipe
from bottleneck.fitting.heads.head import Head
from bottleneck.fitting.heads.judging import image_values, matrix_values
from bottleneck.linear.matrix import ArrayMatrix
from tests.helpers.problems import Rows


def test_values_of_blocks_are_those_of_all_rows(head: Head) -> None:
    classifier = head
    codes = np.random.default_rng(0).random((12, classifier.coef.shape[1]), dtype=np.float32)
    whole = image_values(classifier, codes)
    assert whole.shape == (1, 12, len(classifier.classes))  # one view: nothing is held twice
    np.testing.assert_array_equal(whole[0], classifier.decision_function(codes))
    for matrix in (ArrayMatrix(codes), Rows(codes, [5, 4, 3])):
        np.testing.assert_allclose(matrix_values(classifier, matrix), whole, rtol=1e-12)


def test_images_with_views_have_the_values_of_all_and_of_the_plain_one(head: Head) -> None:
    plain = head
    features = dataclasses.replace(plain.features, views=3, recipe=ViewRecipe())
    classifier = dataclasses.replace(plain, features=features)
    codes = np.random.default_rng(0).random((12, plain.coef.shape[1]), dtype=np.float32)
    each = plain.decision_function(codes).reshape(4, 3, -1)
    for matrix in (ArrayMatrix(codes), Rows(codes, [6, 3])):
        found = matrix_values(classifier, matrix)
        np.testing.assert_allclose(found, [each.mean(axis=1), each[:, 0]], rtol=1e-9)
