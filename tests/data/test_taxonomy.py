"""Coarse groups of ImageNet's classes, from their synset ids."""

from resnet_jax.data.class_names import imagenet_names, split_name
from resnet_jax.data.taxonomy import find_groups


def test_a_name_is_an_id_and_words_or_both_at_once():
    assert split_name('n02123045 tabby, tabby cat') == ('n02123045', 'tabby, tabby cat')
    assert split_name('tabby cat') == ('tabby cat', 'tabby cat')
    assert split_name('n02123045') == ('n02123045', 'n02123045')
    assert split_name('n0212304 tabby') == ('n0212304 tabby', 'n0212304 tabby')
    assert split_name('') == ('', '')


def test_imagenet_has_its_animals_first_and_the_dogs_among_them():
    coarse, dogs = find_groups(list(imagenet_names().values()))
    assert coarse == [
        ('animals', 0, 398),
        ('artefacts', 398, 916),
        ('communication', 916, 922),
        ('food', 922, 970),
        ('nature', 970, 981),
        ('people', 981, 984),
        ('plants', 984, 999),
    ]
    assert dogs == [('dogs', 151, 269)]


def test_groups_follow_the_order_in_which_classes_are_drawn():
    coarse, dogs = find_groups(['n04612504 yawl', 'n02085620 Chihuahua', 'n01440764 tench'])
    assert coarse == [('artefacts', 0, 1), ('animals', 1, 3)]
    assert dogs == [('dogs', 1, 2)]


def test_other_names_have_no_groups():
    assert find_groups(['n01440764 tench', 'cat']) == ([], [])
    assert find_groups([]) == ([], [])
